// engine: the list of what cannot be dumped, as one error that reads as a list.
#include "engine/resources/blockers.h"

namespace ncr {

Error Blockers::as_error() const {
  std::string text = list_.size() == 1
                         ? std::string("1 thing of this tree cannot be dumped:")
                         : strf("%zu things of this tree cannot be dumped:", list_.size());
  for (const Blocker& blocker : list_) {
    text += strf("\n  task %d (%s): %s: %s", blocker.pid, blocker.comm.c_str(),
                 blocker.object.c_str(), blocker.reason.c_str());
    if (!blocker.way_out.empty()) text += "; " + blocker.way_out;
  }
  return Error::unsupported(std::move(text));
}

}  // namespace ncr
