// Connections in network namespaces of the tree: perhaps not that of its root, perhaps with rules
// that would drop, count or track the packets that they are restored with.
#include <sched.h>

#include <cstdlib>

#include "engine/tree/nft_transaction.h"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/tcp_socket/tcp_pairs.h"

namespace ncr::tcp_socket {
namespace {

std::string output_of(const std::string& commands) {
  std::string text;
  FILE* out = ::popen(commands.c_str(), "r");
  char part[4096];
  for (size_t size; (size = ::fread(part, 1, sizeof part, out)) > 0;) text.append(part, size);
  ::pclose(out);
  return text;
}

bool succeeds(const std::string& commands) {
  return std::system(("exec 2>/dev/null >/dev/null; " + commands).c_str()) == 0;
}

void must_run(const std::string& commands) {
  ASSERT_EQ(std::system(("exec 2>&1; " + commands).c_str()), 0) << commands;
}

void enter_network_of_its_own() {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  must_run("ip link set lo up");
}

// Of one of them the end that is made first is told that its peer has closed, and answers, when
// that is not there yet.
CR_TEST_WITH(tcp_socket, half_closed_connections_in_a_network_that_is_not_the_roots,
             .tcp = TcpPolicy::kKeep) {
  Pair here, there;
  test::checkpoint_beside(
      [&] {
        enter_network_of_its_own();
        here = connect_pair(loopback());
        there = connect_pair(loopback());
        ASSERT_EQ(::shutdown(here.server, SHUT_WR), 0);
        ASSERT_EQ(::shutdown(there.client, SHUT_WR), 0);
        wait_for_state(here.server, inet_socket::kFinWait2);
        wait_for_state(there.client, inet_socket::kFinWait2);
      },
      [&] {
        EXPECT_EQ(info_of(here.client).tcpi_state, static_cast<int>(inet_socket::kCloseWait));
        EXPECT_EQ(info_of(there.server).tcpi_state, static_cast<int>(inet_socket::kCloseWait));
        send_all(here.client, "understood");
        send_all(there.server, "understood");
        EXPECT_EQ(receive(here.server, 10), "understood");
        EXPECT_EQ(receive(there.client, 10), "understood");
      });
}

// The server's FIN is not acknowledged: what the client says is dropped.
Pair await_last_ack(const std::string& rule_with_port) {
  Pair pair = connect_pair(loopback());
  EXPECT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kCloseWait);
  must_run(strf(rule_with_port.c_str(), port_of(pair.listener)));
  EXPECT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kLastAck);
  wait_for_state(pair.client, inet_socket::kClose);  // as this descriptor sees TIME-WAIT
  return pair;
}

void expect_last_ack(const Pair& pair) {
  EXPECT_EQ(info_of(pair.server).tcpi_state, static_cast<int>(inet_socket::kLastAck));
  EXPECT_EQ(info_of(pair.client).tcpi_state, static_cast<int>(inet_socket::kClose));
  EXPECT_EQ(receive(pair.server, 1), "");
  EXPECT_EQ(receive(pair.client, 1), "");
  EXPECT_EQ(::send(pair.server, "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

CR_TEST_WITH(tcp_firewalled, last_ack_comes_back_though_a_rule_of_nftables_drops_all_of_it,
             .tcp = TcpPolicy::kKeep) {
  enter_network_of_its_own();
  Pair pair = await_last_ack(
      "nft 'add table inet own; add chain inet own in { type filter hook input priority 0; }; "
      "add rule inet own in tcp dport %d drop'");
  checkpoint_restore();
  expect_last_ack(pair);
  EXPECT_TRUE(succeeds("nft list chain inet own in | grep 'dport.*drop'"));
  EXPECT_EQ(output_of("nft list tables"), "table inet own\n");
}

CR_TEST_WITH(tcp_firewalled, last_ack_comes_back_though_a_rule_of_iptables_drops_all_of_it,
             .tcp = TcpPolicy::kKeep) {
  enter_network_of_its_own();
  if (!succeeds("iptables-legacy -w -L")) GTEST_SKIP() << "no iptables of the older kind here";
  Pair pair = await_last_ack("iptables-legacy -w -A INPUT -p tcp --dport %d -j DROP");
  checkpoint_restore();
  expect_last_ack(pair);
  EXPECT_TRUE(succeeds("iptables-legacy -w -S INPUT | grep DROP"));
  EXPECT_EQ(output_of("nft list tables"), "");
}

CR_TEST_WITH(tcp_firewalled, half_closed_connections_come_back_where_every_fin_is_dropped,
             .tcp = TcpPolicy::kKeep) {
  enter_network_of_its_own();
  Pair pair = connect_pair(loopback());
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.client, inet_socket::kFinWait2);
  must_run(
      "nft 'add table inet own; add chain inet own first { type filter hook prerouting priority "
      "-500; }; add rule inet own first tcp flags & fin != 0 drop; add rule inet own first tcp "
      "flags & rst != 0 drop'");
  checkpoint_restore();
  EXPECT_EQ(info_of(pair.server).tcpi_state, static_cast<int>(inet_socket::kCloseWait));
  EXPECT_EQ(receive(pair.server, 1), "");
  send_all(pair.server, "understood");
  EXPECT_EQ(receive(pair.client, 10), "understood");
}

void end(const Pair& pair) {
  ASSERT_EQ(::shutdown(pair.client, SHUT_WR), 0);
  wait_for_state(pair.client, inet_socket::kFinWait2);
  ASSERT_EQ(::shutdown(pair.server, SHUT_WR), 0);
  wait_for_state(pair.server, inet_socket::kClose);
}

CR_TEST_WITH(tcp_firewalled, no_rule_counts_a_packet_of_the_restore, .tcp = TcpPolicy::kKeep) {
  enter_network_of_its_own();
  end(connect_pair(loopback()));
  end(connect_pair(loopback6()));
  Pair half = connect_pair(loopback());
  ASSERT_EQ(::shutdown(half.client, SHUT_WR), 0);
  wait_for_state(half.server, inet_socket::kCloseWait);
  // No connection says anything any more, but the one that is half closed: not all of what it says
  // is ours.
  must_run(strf(
      "nft 'add table inet own; add chain inet own out { type filter hook output priority -500; }; "
      "add rule inet own out meta mark %u counter; add chain inet own in { type filter hook "
      "prerouting priority -500; }; add rule inet own in tcp sport %d accept; "
      "add rule inet own in tcp dport %d accept; add rule inet own in counter'",
      kLockPassMark, port_of(half.listener), port_of(half.listener)));
  checkpoint_restore();
  EXPECT_EQ(info_of(half.server).tcpi_state, static_cast<int>(inet_socket::kCloseWait));
  const std::string rules = output_of("nft list table inet own");
  EXPECT_NE(rules.find(strf("0x%x counter packets 0 bytes 0", kLockPassMark)), std::string::npos)
      << rules;
  EXPECT_NE(rules.find("accept\n\t\tcounter packets 0 bytes 0"), std::string::npos) << rules;
}

std::string tracked(uint16_t port) {
  return output_of(
      strf("grep -o '[A-Z_]* src=.*port=%d .*' /proc/self/net/nf_conntrack | "
           "cut -d' ' -f1",
           port));
}

CR_TEST_WITH(tcp_firewalled, no_packet_of_the_restore_is_tracked, .tcp = TcpPolicy::kKeep) {
  enter_network_of_its_own();
  must_run(
      "nft 'add table inet own; add chain inet own in { type filter hook input priority 0; policy "
      "drop; }; add rule inet own in ct state established,related accept; add rule inet own in ct "
      "state new accept'");
  Pair pair = connect_pair(loopback());
  const uint16_t port = port_of(pair.listener);
  end(pair);
  if (tracked(port).empty()) GTEST_SKIP() << "connections are not tracked, or not shown";
  ASSERT_EQ(tracked(port), "TIME_WAIT\n");
  checkpoint_restore();
  EXPECT_EQ(info_of(pair.client).tcpi_state, static_cast<int>(inet_socket::kClose));
  EXPECT_EQ(tracked(port), "TIME_WAIT\n");  // a RST would have made it CLOSE
}

}  // namespace
}  // namespace ncr::tcp_socket
