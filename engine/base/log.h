// Log lines go to whoever asked: a Log is handed down with the request, there is no global one.
#pragma once

#include <functional>
#include <string>

namespace ncr {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

class Log {
 public:
  using Sink = std::function<void(LogLevel, const std::string& line)>;
  Log() = default;
  Log(LogLevel level, Sink sink) : level_(level), sink_(std::move(sink)) {}
  bool wants(LogLevel level) const { return sink_ && level <= level_; }
  [[gnu::format(printf, 2, 3)]] void warning(const char* format, ...) const;
  [[gnu::format(printf, 2, 3)]] void info(const char* format, ...) const;
  [[gnu::format(printf, 2, 3)]] void debug(const char* format, ...) const;

 private:
  LogLevel level_ = LogLevel::kWarning;
  Sink sink_;
};

}  // namespace ncr
