// User namespaces below that of the tree's root.
#include <sys/mman.h>

#include <csignal>
#include <thread>

#include "tests/engine/resources/user_namespace/user_dweller.h"

namespace ncr {
namespace {

using namespace test;

std::string user_link(pid_t pid) { return link_of(strf("/proc/%d/ns/user", pid)); }

CR_TEST(nested_users, a_process_is_who_it_was_below) {
  Gate gate;
  const pid_t child = fork_user(0, [&] {
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  EXPECT_NE(user_link(child), user_link(::getpid()));
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, users_groups_and_fewer_capabilities_are_kept) {
  Gate gate;
  const pid_t child = fork_user(0, [&] {
    const gid_t groups[] = {3, 207};
    EXPECT_EQ(::setgroups(2, groups), 0);
    EXPECT_EQ(::prctl(PR_CAPBSET_DROP, 21 /* CAP_SYS_ADMIN */), 0);
    EXPECT_EQ(::prctl(PR_SET_KEEPCAPS, 1), 0);
    EXPECT_EQ(::setresgid(1, 2, 3), 0);
    EXPECT_EQ(::setresuid(210, 5, 6), 0);
    EXPECT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
    EXPECT_EQ(::prctl(PR_GET_KEEPCAPS), 1);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, one_without_maps_can_still_get_them) {
  Gate gate;
  const pid_t child = fork_with([&] {
    EXPECT_EQ(::unshare(CLONE_NEWUSER), 0);
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
    EXPECT_EQ(::getuid(), 65534u);
    gate.pass();
    EXPECT_EQ(::getuid(), 7u);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  gate.wait_ready(1);
  write_text(strf("/proc/%d/uid_map", child), "7 0 1");
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, setgroups_stays_denied) {
  Gate gate;
  const gid_t group = 44;
  EXPECT_EQ(::setgroups(1, &group), 0);
  const pid_t child = fork_with([&] {
    EXPECT_EQ(::unshare(CLONE_NEWUSER), 0);
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", "0 0 1");
    write_text("/proc/self/gid_map", "0 0 1");
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
    EXPECT_EQ(::setgroups(0, nullptr), -1);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, siblings_and_their_members_are_told_apart) {
  Gate gate;
  const pid_t first = fork_user(0, [&] {
    const pid_t inner = fork_with([&] { gate.pass(); });
    gate.pass();
    EXPECT_EQ(user_link(inner), user_link(::getpid()));
    expect_success(inner);
  });
  const pid_t second = fork_user(0, [&] { gate.pass(); });
  gate.wait_ready(3);
  // Came into it from above.
  const pid_t guest = fork_with([&] {
    Fd nsfs = MUST(sys::open(strf("/proc/%d/ns/user", first).c_str(), O_RDONLY));
    EXPECT_EQ(::setns(nsfs.get(), CLONE_NEWUSER), 0) << strerror(errno);
    nsfs.close();
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  EXPECT_NE(user_link(first), user_link(second));
  EXPECT_EQ(user_link(first), user_link(guest));
  gate.open(4);
  for (pid_t child : {first, second, guest}) expect_success(child);
}

CR_TEST(nested_users, several_levels_and_one_that_nobody_is_in_are_kept) {
  Gate gate;
  const uint64_t own = inode_at("/proc/self/ns/user");
  const pid_t child = fork_user(0, [&] {
    unshare_with_maps(0, "0 0 20\n");  // leaves the one above empty
    const pid_t below = fork_with([&] {
      unshare_with_maps(0, "5 3 2\n");
      const std::string before = identity();
      gate.pass();
      EXPECT_EQ(identity(), before);
    });
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
    EXPECT_EQ(related(strf("/proc/%d/ns/user", below), NS_GET_PARENT),
              inode_at("/proc/self/ns/user"));
    expect_success(below);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  Fd nsfs = MUST(sys::open(strf("/proc/%d/ns/user", child).c_str(), O_RDONLY));
  const Fd above(::ioctl(nsfs.get(), NS_GET_PARENT));
  const Fd top(::ioctl(above.get(), NS_GET_PARENT));
  EXPECT_EQ(inode_of(top.get()), inode_at("/proc/self/ns/user"));
  EXPECT_NE(own, 0u);
  gate.open(2);
  expect_success(child);
}

CR_TEST(nested_users, it_belongs_to_who_made_it) {
  Gate gate;
  const pid_t child = fork_with([&] {
    become(1234);
    EXPECT_EQ(::unshare(CLONE_NEWUSER), 0);
    write_text("/proc/self/uid_map", "0 1234 1");
    gate.pass();
  });
  gate.wait_ready(1);
  checkpoint_restore();
  Fd nsfs = MUST(sys::open(strf("/proc/%d/ns/user", child).c_str(), O_RDONLY));
  uid_t owner = 0;
  EXPECT_EQ(::ioctl(nsfs.get(), NS_GET_OWNER_UID, &owner), 0);
  EXPECT_EQ(owner, 1234u);
  // Who may do there what its root may.
  expect_success(fork_with([&] {
    become(1234);
    EXPECT_EQ(::setns(nsfs.get(), CLONE_NEWUSER), 0) << strerror(errno);
  }));
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, other_namespaces_belong_to_it_as_before) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP, [&] {
    EXPECT_EQ(::sethostname("below", 5), 0);
    gate.pass();
    char name[65] = {};
    EXPECT_EQ(::gethostname(name, sizeof name), 0);
    EXPECT_STREQ(name, "below");
    EXPECT_EQ(::sethostname("lower", 5), 0) << strerror(errno);
    for (const char* kind : {"net", "uts", "ipc", "cgroup"})
      EXPECT_EQ(related(strf("/proc/self/ns/%s", kind), NS_GET_USERNS),
                inode_at("/proc/self/ns/user"))
          << kind;
  });
  gate.wait_ready(1);
  checkpoint_restore();
  for (const char* kind : {"net", "uts", "ipc", "cgroup"})
    EXPECT_NE(link_of(strf("/proc/%d/ns/%s", child, kind)),
              link_of(strf("/proc/self/ns/%s", kind)));
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, it_gets_no_rights_over_namespaces_that_are_not_its_own) {
  Gate gate;
  Fd above = MUST(sys::open("/proc/self/ns/uts", O_RDONLY));
  const pid_t child = fork_user(0, [&] {
    gate.pass();
    EXPECT_EQ(::sethostname("mine", 4), -1);
    EXPECT_EQ(::setns(above.get(), CLONE_NEWUTS), -1);
    EXPECT_EQ(::setresuid(100, 100, 100), -1);  // not mapped
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users, a_task_may_be_in_one_and_in_a_namespace_of_another) {
  Gate gate;
  const pid_t first = fork_user(CLONE_NEWUTS, [&] { gate.pass(); });
  gate.wait_ready(1);
  const pid_t second = fork_with([&] {
    Fd uts = MUST(sys::open(strf("/proc/%d/ns/uts", first).c_str(), O_RDONLY));
    EXPECT_EQ(::setns(uts.get(), CLONE_NEWUTS), 0);
    uts.close();
    unshare_with_maps(0, kSomeIds);
    become(0);
    gate.pass();
    EXPECT_EQ(::sethostname("mine", 4), -1);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  EXPECT_EQ(link_of(strf("/proc/%d/ns/uts", first)), link_of(strf("/proc/%d/ns/uts", second)));
  gate.open(2);
  expect_success(first);
  expect_success(second);
}

CR_TEST(nested_users, one_that_only_a_descriptor_holds_is_kept) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNET, [&] { gate.pass(); });
  gate.wait_ready(1);
  Fd user = MUST(sys::open(strf("/proc/%d/ns/user", child).c_str(), O_RDONLY));
  Fd net = MUST(sys::open(strf("/proc/%d/ns/net", child).c_str(), O_RDONLY));
  gate.open(1);
  expect_success(child);
  checkpoint_restore();
  expect_success(fork_with([&] {
    EXPECT_EQ(::setns(user.get(), CLONE_NEWUSER), 0) << strerror(errno);
    EXPECT_EQ(::setns(net.get(), CLONE_NEWNET), 0) << strerror(errno);
    EXPECT_EQ(MUST(sys::read_file("/proc/self/uid_map")),
              "         0       1000        100\n       200       5000         50\n");
  }));
}

CR_TEST_WITH(nested_users, a_tree_that_runs_on_is_looked_at_and_left,
             .final_state = FinalState::kRun) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNET, [&] { gate.pass(); });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

}  // namespace
}  // namespace ncr
