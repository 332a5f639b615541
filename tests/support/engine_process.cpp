#include "tests/support/engine_process.h"

namespace ncr::test {

Result<> engine_dump(const DumpRequest& request) {
  TRY(dump(request));
  return {};
}

Result<> engine_predump(const DumpRequest& request) {
  TRY(predump(request));
  return {};
}

Result<pid_t> engine_restore(const RestoreRequest& request) {
  RestoreReport report = TRY(restore(request));
  return report.root_pid;
}

}  // namespace ncr::test
