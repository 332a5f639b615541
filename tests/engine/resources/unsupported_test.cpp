#include "engine/resources/unsupported.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace ncr {
namespace {

std::string name_of(const char* link, mode_t mode = 0600, int64_t file_system = 0) {
  FdProbe probe;
  probe.link = link;
  probe.stat.st_mode = mode;
  return name_unsupported(probe, file_system, -1, -1).name;
}

std::string socket_name(int domain, int type) {
  FdProbe probe;
  probe.link = "socket:[1]";
  probe.stat.st_mode = S_IFSOCK;
  return name_unsupported(probe, 0, domain, type).name;
}

TEST(Unsupported, anonymous_files_have_the_name_people_know) {
  EXPECT_EQ(name_of("anon_inode:[io_uring]"), "io_uring");
  EXPECT_EQ(name_of("anon_inode:[userfaultfd]"), "userfaultfd");
  EXPECT_EQ(name_of("anon_inode:bpf-prog"), "bpf object");
  EXPECT_EQ(name_of("anon_inode:[perf_event]"), "perf_event");
  EXPECT_EQ(name_of("anon_inode:kvm-vm"), "kvm");
}

TEST(Unsupported, every_refusal_names_a_way_out) {
  for (const char* link :
       {"anon_inode:[io_uring]", "anon_inode:[userfaultfd]", "anon_inode:[perf_event]",
        "anon_inode:[landlock-ruleset]", "anon_inode:seccomp notify", "anon_inode:[fscontext]",
        "anon_inode:[vfio-device]", "anon_inode:sync_file", "/dmabuf:", "/secretmem (deleted)",
        "anon_inode:bpf-prog", "anon_inode:[bpf_iter]", "anon_inode:btf", "anon_inode:[new]"}) {
    FdProbe probe;
    probe.link = link;
    EXPECT_NE(name_unsupported(probe, 0, -1, -1).way_out, "") << link;
  }
}

TEST(Unsupported, files_of_kernel_file_systems_are_named_by_these) {
  EXPECT_EQ(name_of("net:[4026531840]", S_IFREG | 0444, 0x6e736673), "namespace file");
  EXPECT_EQ(name_of("/queue", S_IFREG | 0600, 0x19800202), "POSIX message queue");
  EXPECT_EQ(name_of("/secretmem (deleted)", S_IFREG | 0600, 0x5345434d), "memfd_secret");
}

TEST(Unsupported, sockets_are_named_by_family) {
  EXPECT_EQ(socket_name(AF_VSOCK, SOCK_STREAM), "vsock socket");
  EXPECT_EQ(socket_name(AF_INET, SOCK_RAW), "raw socket");
  EXPECT_EQ(socket_name(200, 3), "socket of family 200, type 3");
}

TEST(Unsupported, what_nobody_knows_still_says_what_it_is) {
  EXPECT_NE(name_of("anon_inode:[something_new]", 0600).find("unknown kind"), std::string::npos);
}

}  // namespace
}  // namespace ncr
