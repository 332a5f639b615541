// All that is in a network namespace, as a record and back. The calling thread is in the namespace.
#pragma once

#include "engine/resources/net_namespace/net_links.h"
#include "engine/resources/net_namespace/net_sysctls.h"

namespace ncr::net_namespace {

// `opened`: open_sysctls() of an earlier moment, or nothing.
Result<> dump_content(const std::vector<Neighbourhood>& others,
                      const std::vector<External>& externals, const std::vector<OpenSysctl>& opened,
                      schema::NetNamespace* record, Refusals* refusals);
Result<> check_content(const schema::NetNamespace& record);  // pure: an image may be anybody's
// Without rules for packets and the connections that they know, if there are rules: then it is
// closed (engine/tree/closed_network.h) until build_rules().
Result<> build_content(const schema::NetNamespace& record, const FarEnds& far = {});
Result<> build_rules(const schema::NetNamespace& record);
Result<> build_empty();  // what a runtime expects of a namespace without content: lo is up

}  // namespace ncr::net_namespace
