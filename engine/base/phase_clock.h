// Where the time of a request went: phases one after the other, for the report and for a Chrome
// trace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"

namespace ncr {

struct Phase {
  std::string name;
  uint64_t start_ns = 0;  // since the request began
  uint64_t duration_ns = 0;
};

uint64_t monotonic_ns();

class PhaseClock {
 public:
  PhaseClock();
  void begin(const char* name);  // ends the phase before it
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
