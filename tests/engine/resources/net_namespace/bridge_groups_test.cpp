#include "engine/resources/net_namespace/bridge_groups.h"

#include "tests/engine/resources/net_namespace/fresh_net.h"

namespace ncr::net_namespace {
namespace {

const std::string kBridge =
    "ip link add br0 type bridge && ip link add p0 type veth peer name q0 && "
    "ip link set p0 master br0 && ip link set br0 up && ip link set p0 up && ip link set q0 up";

TEST(bridge_groups_record, a_header_of_a_wrong_size_is_malformed) {
  Repeated<schema::NetObject> groups;
  groups.Add()->set_header("short");
  EXPECT_FALSE(check_bridge_groups(groups).ok());
}

TEST(cr_bridge_groups, those_that_somebody_has_set_come_back) {
  const std::string groups = kBridge +
                             " && bridge mdb add dev br0 port p0 grp 239.1.1.1 permanent && "
                             "bridge mdb add dev br0 port p0 grp ff0e::77 permanent";
  if (!offers(groups)) GTEST_SKIP() << "bridges keep no groups here";
  EXPECT_EQ(round_trip(groups + " && sleep 0.2",
                       "bridge mdb show | grep -q 'port p0 grp 239.1.1.1 permanent' && "
                       "bridge mdb show | grep -q 'port p0 grp ff0e::77 permanent'"),
            0);
}

TEST(cr_bridge_groups, one_of_a_bridge_that_is_down_is_refused_by_name) {
  const std::string down = kBridge +
                           " && bridge mdb add dev br0 port p0 grp 239.1.1.1 permanent && "
                           "ip link set br0 down && bridge mdb show | grep -q 239.1.1.1";
  if (!offers(down)) GTEST_SKIP() << "a bridge that is down has no groups here";
  EXPECT_NE(refused(down).find("its bridge is down"), std::string::npos);
}

}  // namespace
}  // namespace ncr::net_namespace
