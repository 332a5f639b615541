// Connections in network namespaces of the tree.
#include <sched.h>

#include <cstdlib>

#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/tcp_socket/tcp_pairs.h"

namespace ncr::tcp_socket {
namespace {

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

}  // namespace
}  // namespace ncr::tcp_socket
