#include "engine/base/log.h"

#include <cstdarg>
#include <cstdio>

namespace ncr {
namespace {

void put(const Log::Sink& sink, LogLevel level, const char* format, va_list args) {
  char line[1024];
  std::vsnprintf(line, sizeof line, format, args);
  sink(level, line);
}

}  // namespace

#define NCR_LOG_AT(name, level)                   \
  void Log::name(const char* format, ...) const { \
    if (!wants(level)) return;                    \
    va_list args;                                 \
    va_start(args, format);                       \
    put(sink_, level, format, args);              \
    va_end(args);                                 \
  }
NCR_LOG_AT(warning, LogLevel::kWarning)
NCR_LOG_AT(info, LogLevel::kInfo)
NCR_LOG_AT(debug, LogLevel::kDebug)
#undef NCR_LOG_AT

}  // namespace ncr
