// For tests with processes in user namespaces below that of the test process.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>

#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/gate.h"

namespace ncr::test {

constexpr const char* kSomeIds = "0 1000 100\n200 5000 50\n";

inline void write_text(const std::string& path, const std::string& text) {
  Fd file = MUST(sys::open(path.c_str(), O_WRONLY));
  MUST(sys::write_all(file, text.data(), text.size()));
}

inline void write_maps_of(pid_t pid, const std::string& map) {
  write_text(strf("/proc/%d/uid_map", pid), map);
  write_text(strf("/proc/%d/gid_map", pid), map);
}

inline void become(unsigned id) {
  EXPECT_EQ(::setresgid(id, id, id), 0) << strerror(errno);
  EXPECT_EQ(::setresuid(id, id, id), 0) << strerror(errno);
  EXPECT_EQ(::prctl(PR_SET_DUMPABLE, 1), 0);  // as after an exec
}

// Into new namespaces, the user one with these maps; written by a process that stays outside.
inline void unshare_with_maps(int flags, const std::string& map) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t self = ::getpid();
  const pid_t writer = fork_with([&] {
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    write_maps_of(self, map);
  });
  EXPECT_EQ(::unshare(CLONE_NEWUSER | flags), 0) << strerror(errno);
  EXPECT_EQ(::write(ends[1], "x", 1), 1);
  expect_success(writer);
  ::close(ends[0]);
  ::close(ends[1]);
}

// A child that is root in a new user namespace (and other new ones).
inline pid_t fork_user(int flags, const std::function<void()>& body) {
  return fork_with([&] {
    unshare_with_maps(flags, kSomeIds);
    become(0);
    body();
  });
}

// Who we are, as /proc tells it.
inline std::string identity() {
  std::string told;
  const std::string status = MUST(sys::read_file("/proc/self/status"));
  for (const char* name : {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
                           "CapAmb:", "NoNewPrivs:"}) {
    const size_t at = status.find(std::string("\n") + name);
    told += status.substr(at, status.find('\n', at + 1) - at);
  }
  told += strf("\nsecurebits %x dumpable %d\n", static_cast<unsigned>(::prctl(PR_GET_SECUREBITS)),
               ::prctl(PR_GET_DUMPABLE));
  for (const char* file : {"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"})
    told += MUST(sys::read_file(file));
  return told;
}

inline uint64_t inode_of(int nsfs) {
  struct stat status {};
  EXPECT_EQ(::fstat(nsfs, &status), 0);
  return status.st_ino;
}

// Of a file of nsfs: NS_GET_USERNS or NS_GET_PARENT.
inline uint64_t related(const std::string& path, unsigned long question) {
  Fd nsfs = MUST(sys::open(path.c_str(), O_RDONLY));
  const Fd answer(::ioctl(nsfs.get(), question));
  EXPECT_TRUE(answer.valid()) << path << ": " << strerror(errno);
  return answer.valid() ? inode_of(answer.get()) : 0;
}

inline uint64_t inode_at(const std::string& path) {
  return inode_of(MUST(sys::open(path.c_str(), O_RDONLY)).get());
}

}  // namespace ncr::test
