#include "engine/resources/net_namespace/sets.h"

#include <arpa/inet.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "tests/engine/resources/net_namespace/fresh_net.h"

namespace ncr::net_namespace {
namespace {

void add(Repeated<schema::NetAttribute>* list, uint32_t type, std::string value) {
  schema::NetAttribute* attribute = list->Add();
  attribute->set_type(type);
  attribute->set_value(std::move(value));
}

std::string nested_address(const char* text) {
  in_addr address{};
  ::inet_pton(AF_INET, text, &address);
  netlink::Request request(0, 0);
  const size_t empty = request.finish(0, 0).size();
  request.put_value(IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, address);
  return request.finish(0, 0).substr(empty);
}

schema::NetSet set_named(const char* name, const char* type, uint32_t family) {
  schema::NetSet set;
  set.set_name(name);
  set.set_type(type);
  set.set_family(family);
  return set;
}

schema::NetSet addresses(const char* name, std::initializer_list<const char*> list) {
  schema::NetSet set = set_named(name, "hash:ip", AF_INET);
  add(set.mutable_data(), IPSET_ATTR_MAXELEM | NLA_F_NET_BYTEORDER, bytes_of(htonl(70'000)));
  for (const char* address : list)
    add(set.add_elements()->mutable_attributes(), IPSET_ATTR_IP | NLA_F_NESTED,
        nested_address(address));
  return set;
}

const std::string* element(const schema::NetSet& set, int at, uint16_t type) {
  return find(set.elements(at).attributes(), type);
}

TEST(sets_record, one_without_a_name_or_with_other_attributes_is_malformed) {
  Repeated<schema::NetSet> sets;
  *sets.Add() = addresses("good", {"10.0.0.1"});
  EXPECT_TRUE(check_sets(sets).ok());
  add(sets[0].mutable_data(), 200, "x");
  EXPECT_FALSE(check_sets(sets).ok());
  sets.Clear();
  *sets.Add() = addresses("", {});
  EXPECT_FALSE(check_sets(sets).ok());
  sets.Clear();
  *sets.Add() = addresses(std::string(IPSET_MAXNAMELEN, 'n').c_str(), {});
  EXPECT_FALSE(check_sets(sets).ok());
}

bool has_sets() {
  return testing::in_child([] {
           if (::unshare(CLONE_NEWNET) != 0) return 1;
           Repeated<schema::NetSet> sets;
           *sets.Add() = addresses("s", {});
           return build_sets(sets).ok() ? 0 : 1;
         }) == 0;
}

// Made, dumped, made again elsewhere, and dumped there; 0 or a step.
int there_and_back(const Repeated<schema::NetSet>& sets,
                   bool check(const Repeated<schema::NetSet>& dumped)) {
  return testing::in_child([&] {
    Repeated<schema::NetSet> first, second;
    if (::unshare(CLONE_NEWNET) != 0) return 1;
    Result<> built = build_sets(sets);
    if (!built.ok()) return fprintf(stderr, "%s\n", built.error().text().c_str()), 2;
    if (!dump_sets(&first).ok()) return 3;
    if (!check_sets(first).ok() || !check(first)) return 4;
    if (::unshare(CLONE_NEWNET) != 0) return 5;
    built = build_sets(first);
    if (!built.ok()) return fprintf(stderr, "%s\n", built.error().text().c_str()), 6;
    if (!dump_sets(&second).ok()) return 7;
    return check(second) ? 0 : 8;
  });
}

TEST(cr_sets, addresses_and_sets_of_sets_come_back) {
  if (!has_sets()) GTEST_SKIP() << "the kernel has no sets of addresses";
  Repeated<schema::NetSet> sets;
  *sets.Add() = set_named("all", "list:set", AF_UNSPEC);
  add(sets[0].add_elements()->mutable_attributes(), IPSET_ATTR_NAME, std::string("some") + '\0');
  *sets.Add() = addresses("some", {"10.0.0.1", "10.0.0.2"});
  EXPECT_EQ(there_and_back(sets,
                           [](const Repeated<schema::NetSet>& dumped) {
                             if (dumped.size() != 2) return false;
                             const schema::NetSet& all = dumped[dumped[0].name() == "all" ? 0 : 1];
                             const schema::NetSet& some = dumped[dumped[0].name() == "all" ? 1 : 0];
                             const std::string* member = element(all, 0, IPSET_ATTR_NAME);
                             return all.elements_size() == 1 && member != nullptr &&
                                    std::string(member->c_str()) == "some" &&
                                    some.elements_size() == 2 && some.type() == "hash:ip" &&
                                    *find(some.data(), IPSET_ATTR_MAXELEM) ==
                                        bytes_of(htonl(70'000));
                           }),
            0);
}

TEST(cr_sets, one_that_fills_many_messages_comes_back_whole) {
  if (!has_sets()) GTEST_SKIP() << "the kernel has no sets of addresses";
  Repeated<schema::NetSet> sets;
  *sets.Add() = addresses("many", {});
  constexpr uint32_t kCount = 5000;
  for (uint32_t i = 1; i <= kCount; i++)
    add(sets[0].add_elements()->mutable_attributes(), IPSET_ATTR_IP | NLA_F_NESTED,
        nested_address(strf("10.1.%u.%u", i / 250, i % 250 + 1).c_str()));
  EXPECT_EQ(there_and_back(sets,
                           [](const Repeated<schema::NetSet>& dumped) {
                             return dumped.size() == 1 && dumped[0].elements_size() == int{kCount};
                           }),
            0);
}

TEST(cr_sets, a_network_namespace_takes_its_sets_along) {
  if (!has_sets()) GTEST_SKIP() << "the kernel has no sets of addresses";
  EXPECT_EQ(testing::in_child([] {
              if (::unshare(CLONE_NEWNET) != 0) return 1;
              Repeated<schema::NetSet> sets;
              *sets.Add() = addresses("some", {"10.0.0.1"});
              if (!build_sets(sets).ok()) return 2;
              Result<schema::NetNamespace> first = dumped();
              if (!first.ok()) return 3;
              if (::unshare(CLONE_NEWNET) != 0) return 4;
              if (!build_content(first.value()).ok()) return 5;
              Result<schema::NetNamespace> second = dumped();
              if (!second.ok() || second.value().sets_size() != 1) return 6;
              return second.value().sets(0).elements_size() == 1 ? 0 : 7;
            }),
            0);
}

}  // namespace
}  // namespace ncr::net_namespace
