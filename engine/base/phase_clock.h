// Where the time of a request went: phases one after the other, for the report and for a Chrome trace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/request.h"

namespace ncr {

uint64_t monotonic_ns();

class PhaseClock {
 public:
  PhaseClock();
  void begin(const char* name);   // ends the phase before it
  void end();
  uint64_t total_ns() const;
  const std::vector<Phase>& phases() const { return phases_; }
  // Chrome trace event format (chrome://tracing, Perfetto): complete events, microseconds.
  Result<> write_trace(const std::string& path, const char* process_name) const;

 private:
  uint64_t start_;
  bool open_ = false;
  std::vector<Phase> phases_;
};

}  // namespace ncr
