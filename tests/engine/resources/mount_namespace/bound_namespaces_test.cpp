#include "engine/resources/mount_namespace/bound_namespaces.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/engine/resources/net_namespace/fresh_net.h"
#include "tests/support/checkpoint_test.h"

namespace ncr::mount_namespace {
namespace {

void must_run(const std::string& command) { ASSERT_EQ(net_namespace::run(command), 0) << command; }

// Where ip(8) keeps its namespaces, as in a container.
void begin() {
  ASSERT_TRUE(unshare_mounts());
  ASSERT_TRUE(mount_at("/run", "tmpfs"));
}

// As "ip -n blue", which also wants a sysfs of its own.
constexpr const char* kInBlue = "nsenter --net=/run/netns/blue ";

CR_TEST(bound_namespaces, a_network_that_ip_netns_has_made) {
  begin();
  must_run("ip netns add blue");
  must_run(std::string(kInBlue) + "ip link set lo up");
  must_run(std::string(kInBlue) + "ip addr add 10.95.0.1/32 dev lo");
  checkpoint_restore();
  must_run("ip netns list | grep -q blue");
  must_run(std::string(kInBlue) + "ip addr | grep -q 10.95.0.1/32");
  must_run("ip netns del blue");
}

CR_TEST(bound_namespaces, a_veth_into_a_network_that_ip_netns_has_made) {
  MUST(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  begin();
  must_run(
      "ip netns add blue && ip link add va type veth peer name vb netns blue && "
      "ip link set va up && ip addr add 10.96.0.1/24 dev va");
  must_run(std::string(kInBlue) + "ip link set vb up");
  must_run(std::string(kInBlue) + "ip addr add 10.96.0.2/24 dev vb");
  checkpoint_restore();
  must_run(std::string(kInBlue) + "ip -o link show dev vb | grep -q link-netnsid");
  must_run(std::string(kInBlue) + "ip addr show dev vb | grep -q 10.96.0.2");
  must_run("ip addr show dev va | grep -q LOWER_UP");
}

CR_TEST(bound_namespaces, a_mount_of_ones_own_namespace_and_a_file_opened_there) {
  begin();
  ASSERT_TRUE(make_file("/run/own") && make_file("/run/other"));
  ASSERT_TRUE(bind_at("/proc/self/ns/uts", "/run/own"));
  ASSERT_TRUE(bind_at("/proc/self/ns/mnt", "/run/other") || errno == EINVAL);  // a circle
  Fd opened = MUST(sys::open("/run/own", O_RDONLY));
  checkpoint_restore();
  struct stat own {
  }, mounted{}, kept{};
  ASSERT_EQ(::stat("/proc/self/ns/uts", &own), 0);
  ASSERT_EQ(::stat("/run/own", &mounted), 0);
  ASSERT_EQ(::fstat(opened.get(), &kept), 0);
  EXPECT_EQ(own.st_ino, mounted.st_ino);
  EXPECT_EQ(own.st_ino, kept.st_ino);
  EXPECT_EQ(MUST(sys::read_link_at(Fd(), strf("/proc/self/fd/%d", opened.get()).c_str())),
            "/run/own");
}

CR_TEST_WITH(bound_namespaces, one_that_is_covered_is_refused_by_name,
             .refused_with = "mount /run/held (nsfs): another mount covers it") {
  begin();
  ASSERT_TRUE(make_file("/run/held") && make_file("/run/cover"));
  ASSERT_TRUE(bind_at("/proc/self/ns/uts", "/run/held"));
  ASSERT_TRUE(bind_at("/run/cover", "/run/held"));
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::mount_namespace
