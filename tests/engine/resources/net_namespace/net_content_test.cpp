#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "engine/resources/net_namespace/links_from_outside.h"
#include "engine/tree/closed_network.h"
#include "tests/engine/resources/net_namespace/fresh_net.h"

namespace ncr::net_namespace {
namespace {

TEST(cr_net_content, nothing_but_a_lo_that_is_down) {
  EXPECT_EQ(round_trip("true", "! ip link show lo | grep -q UP"), 0);
}

TEST(cr_net_content, lo_is_up_and_has_its_addresses) {
  EXPECT_EQ(round_trip(
                "ip link set lo up",
                "ip addr show lo | grep -q 'inet 127.0.0.1/8' && ip -6 addr show lo | grep -q ::1"),
            0);
}

TEST(cr_net_content, lo_without_its_address_and_with_another) {
  EXPECT_EQ(round_trip("ip link set lo up && ip addr del 127.0.0.1/8 dev lo && "
                       "ip addr add 10.9.8.7/32 dev lo",
                       "! ip addr show lo | grep -q 127.0.0.1"),
            0);
}

TEST(cr_net_content, a_pair_of_veths_with_everything_about_a_link) {
  EXPECT_EQ(
      round_trip("ip link add eth7 mtu 1400 address 02:11:22:33:44:55 index 17 type veth peer "
                 "name eth8 index 29 && ip link set eth7 alias 'the inner one' txqueuelen 77 "
                 "group 5 multicast off && ip link property add dev eth8 altname another-name && "
                 "ip link set eth7 up && ip link set eth8 up promisc on && ip link set lo up",
                 "ip link show eth7 | grep -q '^17:.*mtu 1400.*UP.*group 5 qlen 77' && "
                 "ip link show another-name | grep -q '^29: eth8.*PROMISC'"),
      0);
}

TEST(cr_net_content, addresses_with_scopes_labels_peers_and_lifetimes) {
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip addr add 10.1.0.1/24 broadcast 10.1.0.250 label va:x dev va && "
          "ip addr add 10.1.0.2/24 dev va && ip addr add 10.2.0.1 peer 10.2.0.2 dev va && "
          "ip addr add 10.3.0.1/16 scope link valid_lft 1000 preferred_lft 500 dev vb && "
          "ip addr add fd00::1/64 dev va nodad && "
          "ip addr add fd00:1::1/64 valid_lft 1000 preferred_lft 500 dev vb nodad && "
          "sleep 0.2",
          "ip addr show dev va | grep -q 'inet 10.2.0.1 peer 10.2.0.2/32' && "
          "ip addr show dev vb | grep -qE 'valid_lft (1000|99.)sec preferred_lft (500|49.)sec'"),
      0);
}

TEST(cr_net_content, routes_of_several_tables_and_rules) {
  EXPECT_EQ(
      round_trip(
          "ip link set lo up && ip link add va type veth peer name vb && ip link set va up && "
          "ip link set vb up && ip addr add 10.1.0.1/24 dev va && "
          "ip addr add fd00::1/64 dev va nodad && ip route add default via 10.1.0.254 && "
          "ip route add 10.7.0.0/16 via 10.1.0.253 metric 50 mtu 1300 src 10.1.0.1 && "
          "ip route add blackhole 10.8.0.0/16 && ip route add unreachable fd01::/32 && "
          "ip route add table 77 default dev va && ip -6 route add default via fd00::9 && "
          "ip route add table 600 10.99.0.0/16 via 10.1.0.7 && "
          "ip route add 10.6.0.0/16 nexthop via 10.1.0.2 weight 3 nexthop via 10.1.0.3 && "
          "ip -6 route add fd06::/32 nexthop via fd00::2 nexthop via fd00::3 && "
          "ip route add 10.5.0.0/16 via 192.168.3.1 dev va onlink && "
          "ip rule add fwmark 7 lookup 77 priority 100 && ip rule del priority 32767 && "
          "ip rule add from 10.1.0.0/24 uidrange 5-10 iif va lookup 600 && "
          "ip -6 rule add to fd08::/32 prohibit && sleep 0.2",
          "ip route show table 77 | grep -q 'default dev va' && "
          "ip rule | grep -q '^100:.*fwmark 0x7 lookup 77' && "
          "! ip rule | grep -q default"),
      0);
}

TEST(cr_net_content, a_route_that_the_kernel_made_and_somebody_took_away) {
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip addr add 10.1.0.1/24 dev va && ip route del 10.1.0.0/24 dev va && sleep 0.2",
          "test -z \"$(ip route)\""),
      0);
}

TEST(cr_net_content, next_hops_and_groups_of_them) {
  const std::string set_up =
      "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
      "ip addr add 10.1.0.1/24 dev va && ip nexthop add id 20 via 10.1.0.2 dev va && "
      "ip nexthop add id 10 via 10.1.0.3 dev va && ip nexthop add id 5 group 10/20,3 && "
      "ip route add 10.4.0.0/16 nhid 5 && sleep 0.2";
  EXPECT_EQ(round_trip(set_up, "ip route | grep -q 'nhid 5'"), 0);
}

TEST(cr_net_content, neighbours_that_somebody_entered) {
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip addr add 10.1.0.1/24 dev va && sleep 0.2 && "
          "ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev va nud permanent && "
          "ip neigh add fd00::9 lladdr 02:00:00:00:00:0a dev vb nud permanent && "
          "ip neigh add proxy 10.1.0.77 dev va",
          "ip neigh show 10.1.0.9 dev va | grep -q PERMANENT && "
          "ip neigh show proxy | grep -q 10.1.0.77"),
      0);
}

TEST(cr_net_content, a_bridge_with_its_ports) {
  if (!offers("ip link add x type bridge")) GTEST_SKIP() << "the kernel has no bridges";
  EXPECT_EQ(
      round_trip("ip link add br0 type bridge stp_state 0 forward_delay 300 ageing_time 12345 "
                 "mcast_snooping 0 && ip link add p type veth peer name q && "
                 "ip link set p master br0 && ip link set p type bridge_slave hairpin on cost 55 "
                 "priority 20 learning off && ip link set br0 up && ip link set p up && "
                 "ip link set q up && ip addr add 10.0.3.1/24 dev br0 && "
                 "bridge fdb add 02:00:00:00:00:77 dev p master static && sleep 0.2",
                 "bridge fdb show dev p | grep -q '02:00:00:00:00:77.*static' && "
                 "ip -d link show p | grep -q 'master br0.*' && "
                 "ip -d link show br0 | grep -q 'forward_delay 300'"),
      0);
}

TEST(cr_net_content, macvlans_on_a_veth) {
  if (!offers("ip link add va type veth peer name vb && ip link add m0 link va type macvlan"))
    GTEST_SKIP() << "the kernel has no macvlans";
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip link add m0 link va type macvlan mode bridge && "
          "ip link add m1 link va type macvlan mode private && ip link set m0 up && "
          "ip addr add 10.1.0.1/24 dev m0 && sleep 0.2",
          "ip -d link show m0 | grep -q 'macvlan mode bridge'"),
      0);
}

TEST(cr_net_content, vlans_on_a_veth) {
  if (!offers("ip link add va type veth peer name vb && ip link add m0 link va type vlan id 5"))
    GTEST_SKIP() << "the kernel has no vlans";
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip link add link va name va.5 type vlan id 5 egress 1:2 && ip link set va.5 up && "
          "sleep 0.2",
          "ip -d link show va.5 | grep -q 'id 5'"),
      0);
}

TEST(cr_net_content, a_vxlan_and_an_ifb) {
  if (!offers("ip link add x type vxlan id 5 dstport 4789 && ip link add y type ifb"))
    GTEST_SKIP() << "the kernel has no vxlan or ifb";
  EXPECT_EQ(
      round_trip(
          "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && "
          "ip addr add 10.1.0.1/24 dev va && ip link add x type vxlan id 77 remote 10.1.0.2 "
          "local 10.1.0.1 dev va dstport 4789 ttl 9 && ip link set x up && "
          "ip link add y type ifb && ip link set y up && sleep 0.2",
          "ip -d link show x | grep -q 'vxlan id 77 remote 10.1.0.2'"),
      0);
}

TEST(cr_net_content, tuns_and_taps_that_stay) {
  if (!offers("ip tuntap add dev t mode tun")) GTEST_SKIP() << "no tun devices here";
  EXPECT_EQ(
      round_trip("ip tuntap add dev tun5 mode tun user 65534 && ip link set tun5 mtu 1300 up && "
                 "ip tuntap add dev tap5 mode tap pi vnet_hdr && ip addr add 10.5.0.1/24 dev tun5",
                 "ip -d link show tun5 | grep -q 'tun type tun.*persist on user nobody'"),
      0);
}

TEST(cr_net_content, tunnels_and_the_devices_that_appear_with_them) {
  if (!offers("ip link add g type gre local 127.0.0.1 remote 127.0.0.2"))
    GTEST_SKIP() << "the kernel has no gre tunnels";
  EXPECT_EQ(round_trip("ip link add g type gre local 10.0.0.1 remote 10.0.0.2 key 5 ttl 7 && "
                       "ip link set g up && ip addr add 10.9.0.1/30 dev g"),
            0);
}

TEST(cr_net_content, sysctls_of_the_namespace_and_of_its_links) {
  EXPECT_EQ(
      round_trip(
          "ip link set lo up && ip link add va type veth peer name vb && cd /proc/sys/net && "
          "echo 1 >ipv4/ip_forward && echo 1 >ipv4/conf/all/accept_redirects && echo '5000 6000' "
          ">ipv4/ip_local_port_range && "
          "echo 80 >ipv4/ip_unprivileged_port_start && echo '100 200' >ipv4/ping_group_range && "
          "echo 1 >ipv4/conf/all/rp_filter && echo 2 >ipv4/conf/default/rp_filter && "
          "echo 1 >ipv4/conf/va/arp_ignore && echo 1 >ipv6/conf/all/forwarding && "
          "echo 1 >ipv6/conf/vb/disable_ipv6 && echo 9 >ipv6/conf/va/hop_limit && "
          "echo 777 >unix/max_dgram_qlen && echo 4001 >core/somaxconn && "
          "echo 77 >ipv4/neigh/va/gc_stale_time && echo 5 >ipv6/neigh/vb/ucast_solicit && "
          "echo 11 >ipv6/conf/va/router_solicitation_interval && "
          "ip link set va up && ip link set vb up && sleep 0.2",
          "cd /proc/sys/net && test \"$(cat ipv4/ip_unprivileged_port_start unix/max_dgram_qlen "
          "core/somaxconn ipv4/conf/va/arp_ignore ipv6/conf/vb/disable_ipv6 ipv6/conf/va/hop_limit "
          "ipv4/conf/all/accept_redirects ipv4/neigh/va/gc_stale_time ipv6/neigh/vb/ucast_solicit "
          "ipv6/conf/va/router_solicitation_interval|tr '\\n' ' ')\" = "
          "'80 777 4001 1 1 9 1 77 5 11 '"),
      0);
}

TEST(cr_net_content, rules_of_nftables_with_their_counters) {
  if (!offers("nft list tables")) GTEST_SKIP() << "no nftables here";
  EXPECT_EQ(
      round_trip(
          "nft 'add table inet t; add chain inet t c { type filter hook input priority 5; }; "
          "add rule inet t c tcp dport 80 counter packets 7 bytes 99 accept; "
          "add set inet t s { type ipv4_addr; }; add element inet t s { 10.0.0.1, 10.0.0.2 }; "
          "add table ip other; add chain ip other x; "
          "add table inet nativecr_0123; add chain inet nativecr_0123 c'",
          "nft list ruleset | grep -q 'packets 7 bytes 99' && "
          "! nft list ruleset | grep -q nativecr"),
      0);
}

// A number of what did not hold; 0: all did.
int rules_come_last() {
  if (::unshare(CLONE_NEWNET) != 0) return 1;
  if (run("nft 'add table ip t; add chain ip t c { type filter hook input priority 5; }; "
          "add table arp t; add chain arp t c { type filter hook input priority 5; }'") != 0)
    return 2;
  Result<schema::NetNamespace> dump = dumped();
  if (!dump.ok() || ::unshare(CLONE_NEWNET) != 0) return 3;
  if (!build_content(dump.value()).ok() || !is_network_closed().take()) return 4;
  if (run("test \"$(nft list tables)\" = 'table inet nativecr_closed\ntable arp nativecr_closed'"))
    return 5;
  if (!build_rules(dump.value()).ok() || is_network_closed().take()) return 6;
  return run("test \"$(nft list tables)\" = 'table ip t\ntable arp t'") == 0 ? 0 : 7;
}

TEST(cr_net_content, is_closed_until_its_rules_are_there) {
  if (!offers("nft list tables")) GTEST_SKIP() << "no nftables here";
  EXPECT_EQ(testing::in_child(rules_come_last), 0);
}

TEST(cr_net_content, connections_that_are_tracked) {
  const std::string set_up =
      "ip link set lo up && nft 'add table inet t; add chain inet t c { type filter hook output "
      "priority 0; }; add rule inet t c ct state established accept' && "
      "python3 -c 'import socket; "
      "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((\"127.0.0.1\",7007)); "
      "s.sendto(b\"x\",(\"127.0.0.1\",7008)); t=socket.create_server((\"127.0.0.1\",7009)); "
      "c=socket.create_connection((\"127.0.0.1\",7009)); a,_=t.accept(); c.send(b\"x\"); "
      "a.recv(1)'";
  if (!offers(set_up + "; test $(cat /proc/sys/net/netfilter/nf_conntrack_count) -gt 1"))
    GTEST_SKIP() << "no connection tracking here";
  EXPECT_EQ(round_trip(set_up, "test $(cat /proc/sys/net/netfilter/nf_conntrack_count) -gt 1"), 0);
}

TEST(cr_net_content, ipsec_is_refused_by_name) {
  const std::string ipsec =
      "ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out tmpl src 1.2.3.4 dst 5.6.7.8 "
      "proto esp "
      "mode tunnel";
  if (!offers(ipsec)) GTEST_SKIP() << "the kernel has no IPsec";
  EXPECT_NE(refused(ipsec).find("1 states and policies of IPsec"), std::string::npos);
}

// The caller's namespace and one that is not of the tree, each as a descriptor; 0 or a step.
int with_two_namespaces(const std::function<int(const Fd& outside, const Fd& inside)>& body) {
  return testing::in_child([&] {
    if (::unshare(CLONE_NEWNET) != 0) return 100;
    Fd outside = sys::open("/proc/self/ns/net", O_RDONLY).take();
    if (::unshare(CLONE_NEWNET) != 0) return 101;
    Fd inside = sys::open("/proc/self/ns/net", O_RDONLY).take();
    int failed = body(outside, inside);
    if (failed != 0) fprintf(stderr, "step %d\n", failed);
    return failed;
  });
}

std::string path_of(const Fd& fd) { return strf("/proc/%d/fd/%d", ::getpid(), fd.get()); }

External given(const char* kind, const char* object, const char* value) {
  return {kind, object, value};
}

TEST(cr_net_content, a_veth_that_leads_outside_leads_there_again) {
  EXPECT_EQ(
      with_two_namespaces([](const Fd& outside, const Fd&) {
        if (run("ip link add eth0 index 7 address 02:00:00:00:00:07 mtu 1300 type veth peer name "
                "far && ip link set far netns " +
                path_of(outside) +
                " && ip link set eth0 up && ip addr add 10.1.0.1/24 dev eth0 && sleep 0.2") != 0)
          return 1;
        Result<schema::NetNamespace> dump = dumped();
        if (!dump.ok()) return 2;
        if (::unshare(CLONE_NEWNET) != 0) return 3;
        Fd fresh = sys::open("/proc/self/ns/net", O_RDONLY).take();
        Result<> alone = build_content(dump.value());
        if (alone.ok() || alone.error().text().find("eth0 leads outside") == std::string::npos)
          return 4;
        if (::setns(outside.get(), CLONE_NEWNET) != 0) return 5;
        RestoreRequest request;
        if (bring_links(dump.value(), request, fresh).ok()) return 6;
        request.externals.push_back(given("veth", "eth0", "veth77@br0"));
        if (run("ip link add br0 type bridge") != 0) return 7;
        if (::unshare(CLONE_NEWNET) != 0) return 8;
        Fd target = sys::open("/proc/self/ns/net", O_RDONLY).take();
        if (::setns(outside.get(), CLONE_NEWNET) != 0) return 9;
        Result<> brought = bring_links(dump.value(), request, target);
        if (!brought.ok()) return fprintf(stderr, "%s\n", brought.error().text().c_str()), 10;
        if (run("ip link show veth77 | grep -q 'UP.*master br0'") != 0) return 11;
        if (::setns(target.get(), CLONE_NEWNET) != 0) return 12;
        Result<> built = build_content(dump.value());
        if (!built.ok()) return fprintf(stderr, "%s\n", built.error().text().c_str()), 13;
        return run(
            "ip addr show eth0 | grep -q '10.1.0.1/24' && ip link show eth0 | grep -q "
            "'^7: .*mtu 1300.*UP' && ip link show eth0 | grep -q 02:00:00:00:00:07");
      }),
      0);
}

TEST(cr_net_content, a_link_of_the_host_takes_the_place_of_a_veth) {
  EXPECT_EQ(with_two_namespaces([](const Fd& outside, const Fd&) {
              if (run("ip link add eth0 index 7 address 02:00:00:00:00:07 type veth peer name far "
                      "&& ip link set far netns " +
                      path_of(outside) + " && ip addr add 10.1.0.1/24 dev eth0") != 0)
                return 1;
              Result<schema::NetNamespace> dump = dumped();
              if (!dump.ok()) return 2;
              if (::unshare(CLONE_NEWNET) != 0) return 3;
              Fd target = sys::open("/proc/self/ns/net", O_RDONLY).take();
              if (::setns(outside.get(), CLONE_NEWNET) != 0) return 4;
              if (run("ip link add ready0 type veth peer name ready1") != 0) return 5;
              RestoreRequest request;
              request.externals.push_back(given("netdev", "eth0", "ready0"));
              Result<> brought = bring_links(dump.value(), request, target);
              if (!brought.ok()) return fprintf(stderr, "%s\n", brought.error().text().c_str()), 6;
              if (run("! ip link show ready0 && ip link show ready1 >/dev/null") != 0) return 7;
              if (::setns(target.get(), CLONE_NEWNET) != 0) return 8;
              Result<> built = build_content(dump.value());
              if (!built.ok()) return fprintf(stderr, "%s\n", built.error().text().c_str()), 9;
              return run(
                  "ip addr show eth0 | grep -q '10.1.0.1/24' && ip link show eth0 | grep -q '^7: ' "
                  "&& ip link show eth0 | grep -q 02:00:00:00:00:07");
            }),
            0);
}

TEST(cr_net_content, a_macvlan_on_a_link_of_the_host) {
  if (!offers("ip link add va type veth peer name vb && ip link add m0 link va type macvlan"))
    GTEST_SKIP() << "the kernel has no macvlans";
  EXPECT_EQ(with_two_namespaces([](const Fd& outside, const Fd& inside) {
              if (::setns(outside.get(), CLONE_NEWNET) != 0) return 1;
              if (run("ip link add host0 type veth peer name host1 && ip link set host0 up && "
                      "ip link add m0 index 12 link host0 type macvlan mode bridge && "
                      "ip link set m0 netns " +
                      path_of(inside)) != 0)
                return 2;
              if (::setns(inside.get(), CLONE_NEWNET) != 0) return 3;
              Result<schema::NetNamespace> dump = dumped();
              if (!dump.ok()) return fprintf(stderr, "%s\n", dump.error().text().c_str()), 4;
              if (::unshare(CLONE_NEWNET) != 0) return 5;
              Fd target = sys::open("/proc/self/ns/net", O_RDONLY).take();
              if (::setns(outside.get(), CLONE_NEWNET) != 0) return 6;
              RestoreRequest request;
              request.externals.push_back(given("macvlan", "m0", "host0"));
              Result<> brought = bring_links(dump.value(), request, target);
              if (!brought.ok()) return fprintf(stderr, "%s\n", brought.error().text().c_str()), 7;
              if (::setns(target.get(), CLONE_NEWNET) != 0) return 8;
              Result<> built = build_content(dump.value());
              if (!built.ok()) return fprintf(stderr, "%s\n", built.error().text().c_str()), 9;
              return run("ip -d link show m0 | grep -q 'macvlan mode bridge'");
            }),
            0);
}

TEST(cr_net_content, packets_of_ipv6_stay_smaller_than_those_of_their_link) {
  EXPECT_EQ(round_trip("ip link set lo up && ip link add va type veth peer name vb && "
                       "ip link set va mtu 9000 && "
                       "echo 1280 >/proc/sys/net/ipv6/conf/lo/mtu && "
                       "echo 1500 >/proc/sys/net/ipv6/conf/va/mtu",
                       "cd /proc/sys/net/ipv6/conf && test \"$(cat lo/mtu va/mtu vb/mtu|tr '\\n' "
                       "' ')\" = '1280 1500 1500 '"),
            0);
}

TEST(cr_net_content, an_empty_one_has_a_lo_that_is_up) {
  EXPECT_EQ(testing::in_child([] {
              if (::unshare(CLONE_NEWNET) != 0) return 1;
              if (!build_empty().ok()) return 2;
              return run("ip addr show lo | grep -q 127.0.0.1") == 0 ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace ncr::net_namespace
