// What takes the place of namespaces that only a descriptor names: given ones, empty ones.
#include "engine/tree/namespace_set.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "engine/base/sys.h"
#include "tests/engine/resources/net_namespace/fresh_net.h"
#include "tests/support/child_process.h"
#include "tests/support/engine_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

Result<Fd> open_net() { return sys::open("/proc/thread-self/ns/net", O_RDONLY); }

// A new one, which nobody is in.
Fd make_net() {
  Fd made;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    Result<Fd> fd = open_net();
    if (fd.ok()) made = fd.take();
  }).join();
  EXPECT_TRUE(made.valid());
  return made;
}

bool has_link(const std::string& nsfs, const char* name) {
  bool found = false;
  std::thread([&] {
    Result<Fd> fd = sys::open(nsfs.c_str(), O_RDONLY);
    if (fd.ok() && ::setns(fd.value().get(), CLONE_NEWNET) == 0)
      found = ::if_nametoindex(name) != 0;
  }).join();
  return found;
}

uint64_t inode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// A process whose descriptor 3 is what `set_up` gives; it is dumped, restored, and looked at.
class Holder {
 public:
  explicit Holder(const std::function<Result<Fd>()>& set_up) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_ = test::fork_child([&] {
      ::setsid();
      Result<Fd> held = set_up();
      if (!held.ok()) ::_exit(1);
      const int high = ::fcntl(held.value().get(), F_DUPFD_CLOEXEC, 100);
      const int out = ::fcntl(ready[1], F_DUPFD_CLOEXEC, 100);
      for (int fd = 0; fd < 3; fd++) ::dup2(::open("/dev/null", O_RDWR), fd);
      ::dup2(high, 3);
      if (::write(out, "y", 1) != 1) ::_exit(1);
      ::close_range(4, ~0u, 0);
      for (;;) ::pause();
    });
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(::read(ready[0], &byte, 1), 0);  // it has closed all of ours
    ::close(ready[0]);
    dump_.pid = pid_;
    dump_.images_dir = restore_.images_dir = scratch_.file("images");
    EXPECT_EQ(::mkdir(dump_.images_dir.c_str(), 0700), 0);
  }
  ~Holder() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  std::string held() const { return strf("/proc/%d/fd/3", pid_); }
  std::string lives_in() const { return strf("/proc/%d/ns/net", pid_); }

  void dump_and_restore(const std::function<void(DumpRequest&)>& change_dump,
                        const std::function<void(RestoreRequest&)>& change_restore) {
    change_dump(dump_);
    Result<> dumped = test::engine_dump(dump_);
    ASSERT_TRUE(dumped.ok()) << dumped.error().text();
    ::waitpid(pid_, nullptr, 0);
    change_restore(restore_);
    Result<pid_t> restored = test::engine_restore(restore_);
    ASSERT_TRUE(restored.ok()) << restored.error().text();
    pid_ = restored.value();
  }

 private:
  test::Scratch scratch_;
  pid_t pid_ = 0;
  DumpRequest dump_;
  RestoreRequest restore_;
};

Result<Fd> held_net() {
  Fd own = TRY(open_net());
  TRY(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  if (net_namespace::run("ip link add d0 type veth peer name d1") != 0)
    return Error(ErrorCode::kSystem, "no link");
  Fd held = TRY(open_net());
  TRY(SYSCALL(::setns(own.get(), CLONE_NEWNET), "setns"));
  return held;
}

void as_it_is(DumpRequest&) {}

TEST(namespace_set, an_external_one_that_only_a_descriptor_holds_is_what_is_given) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Holder holder(held_net);
  Fd other = make_net();
  const std::string inode = std::to_string(inode_of(holder.held()));
  holder.dump_and_restore(
      [&](DumpRequest& request) {
        request.externals = {{"net", inode, "the key"}};
      },
      [&](RestoreRequest& request) {
        request.inherited = {{"the key", other.get()}};
      });
  EXPECT_EQ(inode_of(holder.held()), inode_of(strf("/proc/self/fd/%d", other.get())));
  EXPECT_EQ(inode_of(holder.lives_in()), inode_of("/proc/self/ns/net"));
}

TEST(namespace_set, an_empty_one_that_only_a_descriptor_holds_has_no_links) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Holder holder(held_net);
  EXPECT_TRUE(has_link(holder.held(), "d0"));
  holder.dump_and_restore([](DumpRequest& request) { request.empty_namespaces = CLONE_NEWNET; },
                          [](RestoreRequest& request) { request.empty_namespaces = CLONE_NEWNET; });
  EXPECT_NE(inode_of(holder.held()), inode_of("/proc/self/ns/net"));
  EXPECT_TRUE(has_link(holder.held(), "lo"));
  EXPECT_FALSE(has_link(holder.held(), "d0"));
}

TEST(namespace_set, a_descriptor_follows_its_namespace_into_the_joined_one) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto of_its_own = []() -> Result<Fd> {
    TRY(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
    return open_net();
  };
  for (const std::function<Result<Fd>()>& set_up :
       {std::function<Result<Fd>()>(of_its_own), std::function<Result<Fd>()>(open_net)}) {
    Holder holder(set_up);
    Fd other = make_net();
    const std::string path = strf("/proc/self/fd/%d", other.get());
    holder.dump_and_restore(as_it_is, [&](RestoreRequest& request) {
      request.joined = {{"net", path}};
    });
    EXPECT_EQ(inode_of(holder.held()), inode_of(path));
    EXPECT_EQ(inode_of(holder.lives_in()), inode_of(path));
  }
}

}  // namespace
}  // namespace ncr
