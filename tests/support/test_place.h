// Where a CR_TEST runs: in the namespaces of whoever runs the tests, or below the init of new ones,
// which is then the root of the tree that is dumped. The suite's name says where: cr_eventfd,
// pidns_eventfd, allns_eventfd, userns_eventfd.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "engine/base/result.h"

namespace ncr::test {

enum class Place {
  kHost,
  kPidNamespace,   // pid and mount namespace: its own numbers and its own /proc
  kAllNamespaces,  // every kind but user
  kUserNamespace,  // every kind; ids 0 to 65535 are others outside
};

Place place_of(const std::string& suite);
// Why the test named "eventfd.keeps_a_counter" does not run there; empty: it does.
std::string exception_of(Place place, const std::string& test);

// Runs `body`, which does not return, in a child of ours, or in a child of the init of new
// namespaces, which is a child of ours and ends as the body does. `folder` is made theirs.
Result<pid_t> start_in(Place place, const std::string& folder, const std::function<void()>& body);

}  // namespace ncr::test
