// engine: the list of what cannot be dumped, as one error that reads as a list. What many tasks
// have in common, as a pool of workers has, is told once.
#include "engine/resources/blockers.h"

#include <map>
#include <tuple>

namespace ncr {
namespace {

struct Told {
  const Blocker* first;
  size_t others = 0;
};

std::vector<Told> tell_once(const std::vector<Blocker>& list) {
  std::vector<Told> all;
  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, size_t> known;
  for (const Blocker& blocker : list) {
    const auto [found, fresh] =
        known.emplace(std::tie(blocker.object, blocker.reason, blocker.way_out), all.size());
    if (fresh)
      all.push_back({&blocker});
    else
      all[found->second].others++;
  }
  return all;
}

}  // namespace

Error Blockers::as_error() const {
  const std::vector<Told> all = tell_once(list_);
  std::string text = all.size() == 1
                         ? std::string("1 thing of this tree cannot be dumped:")
                         : strf("%zu things of this tree cannot be dumped:", all.size());
  for (const auto& [blocker, others] : all) {
    text += strf("\n  task %d (%s)", blocker->pid, blocker->comm.c_str());
    if (others > 0) text += strf(" and %zu more", others);
    text += strf(": %s: %s", blocker->object.c_str(), blocker->reason.c_str());
    if (!blocker->way_out.empty()) text += "; " + blocker->way_out;
  }
  return Error::unsupported(std::move(text));
}

}  // namespace ncr
