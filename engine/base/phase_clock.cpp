#include "engine/base/phase_clock.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>

#include "engine/base/sys.h"

namespace ncr {

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

PhaseClock::PhaseClock() : start_(monotonic_ns()) {}

void PhaseClock::begin(const char* name) {
  end();
  phases_.push_back({name, monotonic_ns() - start_, 0});
  open_ = true;
}

void PhaseClock::end() {
  if (!open_) return;
  phases_.back().duration_ns = monotonic_ns() - start_ - phases_.back().start_ns;
  open_ = false;
}

uint64_t PhaseClock::total_ns() const { return monotonic_ns() - start_; }

Result<> PhaseClock::write_trace(const std::string& path, const char* process_name) const {
  std::string text = "[\n";
  text += strf("{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"%s\"}}",
               ::getpid(), process_name);
  for (const Phase& phase : phases_)
    text += strf(",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f}",
                 phase.name.c_str(), ::getpid(), static_cast<double>(phase.start_ns) / 1000.0,
                 static_cast<double>(phase.duration_ns) / 1000.0);
  text += "\n]\n";
  Fd file = TRY(sys::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  return sys::write_all(file, text.data(), text.size());
}

}  // namespace ncr
