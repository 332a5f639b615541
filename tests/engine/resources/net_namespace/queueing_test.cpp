#include "engine/resources/net_namespace/queueing.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "tests/engine/resources/net_namespace/fresh_net.h"

namespace ncr::net_namespace {
namespace {

const std::string kPair = "ip link add vx type veth peer name vy";

void add_discipline(schema::NetNamespace* record, uint32_t parent, uint32_t handle,
                    const char* kind) {
  tcmsg header{};
  header.tcm_ifindex = 2;
  header.tcm_parent = parent;
  header.tcm_handle = handle;
  schema::NetObject* object = record->add_disciplines();
  object->set_header(bytes_of(header));
  set(object->mutable_attributes(), TCA_KIND, std::string(kind) + '\0');
}

TEST(queueing_record, one_that_stands_on_none_is_malformed) {
  schema::NetNamespace record;
  add_discipline(&record, TC_H_ROOT, 0x10000, "pfifo");
  EXPECT_TRUE(check_queueing(record).ok());
  add_discipline(&record, 0x70001, 0x20000, "pfifo");
  EXPECT_FALSE(check_queueing(record).ok());
}

TEST(queueing_record, a_kind_that_is_not_dumped_is_malformed) {
  schema::NetNamespace record;
  add_discipline(&record, TC_H_ROOT, 0x10000, "netem");
  EXPECT_FALSE(check_queueing(record).ok());
}

TEST(queueing_record, a_header_that_is_too_short_is_malformed) {
  schema::NetNamespace record;
  record.add_classes()->set_header("short");
  EXPECT_FALSE(check_queueing(record).ok());
}

TEST(cr_queueing, a_link_that_was_slowed_down_stays_slow) {
  const std::string slow =
      kPair + " && tc qdisc add dev vx root handle 9: tbf rate 3mbit burst 10k latency 10ms";
  if (!offers(slow)) GTEST_SKIP() << "the kernel has no tbf";
  EXPECT_EQ(round_trip(slow + " && tc qdisc add dev vy root handle 5: pfifo limit 7",
                       "tc qdisc show dev vx | grep -q 'tbf 9: root.*rate 3Mbit burst 10Kb lat "
                       "10ms' && tc qdisc show dev vy | grep -q 'pfifo 5: root.*limit 7p'"),
            0);
}

TEST(cr_queueing, classes_come_back_below_each_other_with_what_hangs_on_them) {
  const std::string shaped =
      kPair +
      " && ip link set vx up && ip link set vy up && "
      "tc qdisc add dev vx root handle 1: htb default 12 r2q 20 && "
      "tc class add dev vx parent 1: classid 1:5 htb rate 100mbit && "
      "tc class add dev vx parent 1:5 classid 1:12 htb rate 10mbit ceil 50mbit burst 20k prio 3 && "
      "tc class add dev vx parent 1:5 classid 1:2 htb rate 20gbit quantum 1500 && "
      "tc qdisc add dev vx parent 1:12 handle 20: pfifo limit 5 && "
      "tc qdisc add dev vx parent 1:2 handle 21: tbf rate 1mbit burst 10k limit 3000 && sleep 0.2";
  if (!offers(shaped)) GTEST_SKIP() << "the kernel has no htb";
  EXPECT_EQ(round_trip(shaped,
                       "tc qdisc show dev vx | grep -q 'htb 1: root.*r2q 20 default 0x12' && "
                       "tc class show dev vx | grep -q 'htb 1:12 parent 1:5 leaf 20: prio 3 rate "
                       "10Mbit ceil 50Mbit burst 20Kb' && "
                       "tc class show dev vx | grep -q 'htb 1:2 parent 1:5 leaf 21:.*rate 20Gbit'"),
            0);
}

TEST(cr_queueing, hooks_for_what_comes_in) {
  const std::string hooks = kPair + " && tc qdisc add dev vx clsact && tc qdisc add dev vy ingress";
  if (!offers(hooks)) GTEST_SKIP() << "the kernel has no ingress discipline";
  EXPECT_EQ(round_trip(hooks,
                       "tc qdisc show dev vx | grep -q clsact && "
                       "tc qdisc show dev vy | grep -q ingress"),
            0);
}

TEST(cr_queueing, filters_are_refused_by_name) {
  const std::string match = " protocol ip prio 1 u32 match ip dst 10.0.0.1/32 ";
  const std::string hook = kPair + " && tc qdisc add dev vx clsact && tc filter add dev vx egress" +
                           match + "action drop";
  if (offers(hook)) {
    EXPECT_NE(refused(hook).find("queueing discipline clsact: it has filters"), std::string::npos);
  }
  const std::string classes = kPair +
                              " && tc qdisc add dev vx root handle 1: htb && "
                              "tc class add dev vx parent 1: classid 1:5 htb rate 100mbit && "
                              "tc class add dev vx parent 1:5 classid 1:6 htb rate 10mbit && "
                              "tc filter add dev vx parent 1:5" +
                              match + "flowid 1:6";
  if (offers(classes)) {
    EXPECT_NE(refused(classes).find("class 5 of htb: it has filters"), std::string::npos);
  }
}

}  // namespace
}  // namespace ncr::net_namespace
