// The log that runtimes quote when something fails: dump.log, restore.log. Lines are written as
// they come, by whichever process has something to say.
#pragma once

#include <nativecr/nativecr.h>

#include <cstdint>
#include <string>

#include "frontends/criu/descriptor.h"
#include "frontends/criu/status.h"

namespace criu {

class Journal {
 public:
  Journal();
  // In this directory, or wherever an absolute name says; "-" and "" are standard error. A file
  // that exists is emptied, not replaced: who made it has perhaps labelled it.
  Status open(int directory, const std::string& name);
  // criu's verbosity: 0 nothing, 1 errors, 2 warnings, 3 what is done, 4 how
  void set_verbosity(int verbosity) { verbosity_ = verbosity; }
  int verbosity() const { return verbosity_; }
  ncr_log_level engine_level() const;
  void write(ncr_log_level level, const std::string& text) const;
  void error(const std::string& text) const { write(NCR_LOG_ERROR, text); }
  void info(const std::string& text) const { write(NCR_LOG_INFO, text); }

 private:
  Descriptor file_;
  int verbosity_ = 2;
  uint64_t start_us_;
};

}  // namespace criu
