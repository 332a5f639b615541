#include "engine/resources/net_namespace/net_record.h"

#include <gtest/gtest.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "engine/resources/net_namespace/firewall.h"
#include "engine/resources/net_namespace/link_conf.h"
#include "engine/resources/net_namespace/link_kinds.h"
#include "engine/resources/net_namespace/links_from_outside.h"
#include "engine/resources/net_namespace/net_content.h"
#include "engine/resources/net_namespace/net_objects.h"

namespace ncr::net_namespace {
namespace {

schema::NetLink* add_link(schema::NetNamespace* record, uint32_t index, const char* name,
                          const char* kind) {
  schema::NetLink* link = record->add_links();
  link->set_index(index);
  link->set_name(name);
  link->set_kind(kind);
  return link;
}

void add_attribute(Repeated<schema::NetAttribute>* list, uint32_t type, const std::string& value) {
  schema::NetAttribute* attribute = list->Add();
  attribute->set_type(type);
  attribute->set_value(value);
}

TEST(net_record, only_known_attributes_are_kept) {
  netlink::Request request(0, 0);
  request.put_value(IFLA_MTU, uint32_t{1400}).put_value(IFLA_NET_NS_PID, uint32_t{1});
  std::string_view bytes = request.finish(0, 0);
  Repeated<schema::NetAttribute> kept;
  keep(bytes.substr(16), kLinkTypes, &kept);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_EQ(find_u32(kept, IFLA_MTU), 1400u);
}

TEST(net_record, an_image_cannot_send_a_link_elsewhere) {
  schema::NetNamespace record;
  add_attribute(add_link(&record, 5, "eth0", "veth")->mutable_attributes(), IFLA_NET_NS_PID,
                bytes_of(uint32_t{1}));
  Result<> checked = check_content(record);
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code(), ErrorCode::kMalformed);
}

TEST(net_record, hostile_links_are_refused) {
  struct Case {
    uint32_t index;
    const char* name;
    const char* kind;
  };
  for (const Case& hostile :
       {Case{0, "eth0", ""}, Case{5, "", ""}, Case{5, "a/b", ""}, Case{5, "..", ""},
        Case{5, "sixteen-letters-", ""}, Case{5, "x", "wireguard"}, Case{0x80000000u, "x", ""}}) {
    schema::NetNamespace record;
    add_link(&record, hostile.index, hostile.name, hostile.kind);
    EXPECT_FALSE(check_content(record).ok()) << hostile.name;
  }
  schema::NetNamespace twice;
  add_link(&twice, 5, "x", "");
  add_link(&twice, 5, "y", "");
  EXPECT_FALSE(check_content(twice).ok());
}

TEST(net_record, links_are_made_after_those_they_stand_on) {
  schema::NetNamespace record;
  add_link(&record, 2, "m", "macvlan")->set_lower(9);
  add_link(&record, 9, "v", "veth")->set_lower(4);
  add_link(&record, 4, "w", "veth")->set_lower(9);
  auto ordered = in_order(record.links());
  ASSERT_TRUE(ordered.ok());
  EXPECT_EQ(ordered.value().back()->name(), "m");
  record.mutable_links(0)->set_lower(77);
  EXPECT_FALSE(in_order(record.links()).ok());
  record.mutable_links(0)->set_lower(3);
  add_link(&record, 3, "n", "macvlan")->set_lower(2);
  EXPECT_FALSE(in_order(record.links()).ok());
}

TEST(net_record, hostile_objects_and_sysctls_are_refused) {
  schema::NetNamespace record;
  record.add_routes()->set_header("short");
  EXPECT_FALSE(check_content(record).ok());
  record.clear_routes();
  for (const char* name : {"../kernel/core_pattern", "ipv4/../../kernel/core_pattern",
                           "/etc/passwd", "kernel/core_pattern", "ipv4"}) {
    record.clear_sysctls();
    record.add_sysctls()->set_name(name);
    EXPECT_FALSE(check_content(record).ok()) << name;
  }
  record.mutable_sysctls(0)->set_name("ipv4/ip_forward");
  EXPECT_TRUE(check_content(record).ok());
  record.set_nftables("table inet t {\n}\n include \"/etc/shadow\"\n");
  EXPECT_FALSE(check_content(record).ok());
  record.set_nftables("table inet t {\n}\n");
  EXPECT_TRUE(check_content(record).ok());
  record.add_tables()->set_program("rm");
  EXPECT_FALSE(check_content(record).ok());
}

TEST(net_record, an_address_is_the_same_while_its_time_passes) {
  schema::NetObject address;
  ifaddrmsg header{};
  header.ifa_family = AF_INET6;
  address.set_header(bytes_of(header));
  add_attribute(address.mutable_attributes(), IFA_FLAGS, bytes_of(uint32_t{IFA_F_PERMANENT}));
  schema::NetObject later = address;
  set(later.mutable_attributes(), IFA_FLAGS, bytes_of(uint32_t{IFA_F_PERMANENT | IFA_F_TENTATIVE}));
  add_attribute(later.mutable_attributes(), IFA_CACHEINFO, std::string(16, 'x'));
  EXPECT_EQ(identity(ObjectKind::kAddress, address), identity(ObjectKind::kAddress, later));
  set(later.mutable_attributes(), IFA_ADDRESS, std::string(16, 'y'));
  EXPECT_NE(identity(ObjectKind::kAddress, address), identity(ObjectKind::kAddress, later));
}

TEST(net_record, a_route_is_kept_without_what_the_kernel_found_out) {
  schema::NetObject route;
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_flags = RTNH_F_LINKDOWN | RTNH_F_ONLINK;
  route.set_header(bytes_of(header));
  rta_cacheinfo times{};
  times.rta_expires = 500;
  add_attribute(route.mutable_attributes(), RTA_CACHEINFO, bytes_of(times));
  rtnexthop hop{};
  hop.rtnh_len = sizeof hop;
  hop.rtnh_flags = RTNH_F_DEAD;
  add_attribute(route.mutable_attributes(), RTA_MULTIPATH, bytes_of(hop) + bytes_of(hop) + "x");
  ASSERT_TRUE(normalise(ObjectKind::kRoute, &route));
  EXPECT_EQ(header_of<rtmsg>(route.header()).rtm_flags, unsigned{RTNH_F_ONLINK});
  EXPECT_EQ(find_u32(route.attributes(), RTA_EXPIRES), 5u);
  EXPECT_EQ(find(route.attributes(), RTA_CACHEINFO), nullptr);
  hop.rtnh_flags = 0;
  EXPECT_EQ(*find(route.attributes(), RTA_MULTIPATH), bytes_of(hop) + bytes_of(hop) + "x");
  header.rtm_flags = RTM_F_CLONED;
  route.set_header(bytes_of(header));
  EXPECT_FALSE(normalise(ObjectKind::kRoute, &route));
}

TEST(net_record, neighbours_that_were_learned_are_left_out) {
  schema::NetObject neighbour;
  ndmsg header{};
  header.ndm_family = AF_INET;
  header.ndm_state = NUD_REACHABLE;
  neighbour.set_header(bytes_of(header));
  EXPECT_FALSE(normalise(ObjectKind::kNeighbour, &neighbour));
  header.ndm_state = NUD_PERMANENT;
  neighbour.set_header(bytes_of(header));
  EXPECT_TRUE(normalise(ObjectKind::kNeighbour, &neighbour));
}

TEST(net_record, values_of_a_link_that_differ_are_told_by_name) {
  std::vector<int32_t> wanted(DEVCONF_RTR_SOLICIT_INTERVAL + 1), present(wanted.size());
  wanted[DEVCONF_HOPLIMIT] = 9;
  wanted[DEVCONF_RTR_SOLICIT_INTERVAL] = 11'000;
  auto bytes = [](const std::vector<int32_t>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  };
  std::vector<Setting> settings = differing_conf6(bytes(wanted), bytes(present));
  ASSERT_EQ(settings.size(), 2u);
  EXPECT_STREQ(settings[0].name, "hop_limit");
  EXPECT_EQ(settings[0].value, "9");
  EXPECT_STREQ(settings[1].name, "router_solicitation_interval");
  EXPECT_EQ(settings[1].value, "11");
  EXPECT_TRUE(differing_conf6(bytes(wanted), "x").empty());
  auto conf4 = differing_conf4(bytes({1, 5, 3}), bytes({1, 2, 4}));
  ASSERT_EQ(conf4.size(), 1u);  // of the two that differ, one belongs to a daemon
  EXPECT_EQ(conf4[0], (std::pair<uint16_t, uint32_t>(3, 3)));
}

TEST(net_record, the_largest_packet_of_ipv6_is_told_where_it_is_not_the_links) {
  std::vector<int32_t> values(DEVCONF_MTU6 + 1);
  auto told = [&](int32_t mtu6) {
    values[DEVCONF_MTU6] = mtu6;
    return own_mtu6({reinterpret_cast<const char*>(values.data()), values.size() * 4}, 1500);
  };
  EXPECT_EQ(told(1300), 1300u);
  EXPECT_EQ(told(1500), 0u);
  EXPECT_EQ(told(9000), 0u);
  EXPECT_EQ(told(1000), 0u);
  EXPECT_EQ(own_mtu6("", 1500), 0u);
}

TEST(net_record, what_takes_the_place_of_an_end_outside) {
  EXPECT_EQ(parse_outside("veth7").name, "veth7");
  EXPECT_EQ(parse_outside("veth7").bridge, "");
  EXPECT_EQ(parse_outside("veth7@br0").name, "veth7");
  EXPECT_EQ(parse_outside("veth7@br0").bridge, "br0");
  schema::NetNamespace record;
  add_link(&record, 7, "eth0", "veth")->set_lower_place(schema::NET_OUTSIDE);
  RestoreRequest request;
  Result<> checked = check_outside(record, request);
  ASSERT_FALSE(checked.ok());
  EXPECT_NE(checked.error().text().find("--external veth[eth0]:NAME"), std::string::npos);
  request.externals.push_back({"veth", "eth0", "x"});
  EXPECT_TRUE(check_outside(record, request).ok());
}

TEST(net_record, tables_of_our_own_are_left_out) {
  EXPECT_EQ(without_locks(
                "table ip a {\n\tchain x {\n\t}\n}\ntable inet nativecr_held_12 {\n\tset y {\n\t}\n"
                "}\ntable ip6 b {\n}\n"),
            "table ip a {\n\tchain x {\n\t}\n}\ntable ip6 b {\n}\n");
  EXPECT_EQ(without_locks(""), "");
  EXPECT_EQ(without_locks("table ip a"), "table ip a");
}

TEST(net_record, names_for_nft_are_words) {
  EXPECT_TRUE(plain_name("filter"));
  EXPECT_FALSE(plain_name(""));
  EXPECT_FALSE(plain_name("a; include \"x\""));
  EXPECT_FALSE(plain_name("-f"));
}

}  // namespace
}  // namespace ncr::net_namespace
