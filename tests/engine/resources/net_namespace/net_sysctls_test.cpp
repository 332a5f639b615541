#include "engine/resources/net_namespace/net_sysctls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "engine/base/sys.h"

namespace ncr::net_namespace {
namespace {

std::string value_of(const Repeated<schema::NetSysctl>& sysctls, const std::string& name) {
  for (const schema::NetSysctl& sysctl : sysctls)
    if (sysctl.name() == name) return sysctl.value();
  return "none";
}

// Needs CAP_SYS_ADMIN.
TEST(net_sysctls, what_was_opened_early_is_read_as_it_is_now) {
  Repeated<schema::NetSysctl> early;
  Repeated<schema::NetSysctl> fresh;
  std::thread([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    Result<std::vector<OpenSysctl>> opened = open_sysctls();
    ASSERT_TRUE(opened.ok());
    Result<Fd> file = sys::open("/proc/sys/net/ipv4/conf/default/forwarding", O_WRONLY);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(sys::write_all(file.value(), "1\n", 2).ok());
    read_sysctls(opened.value(), &early);
    ASSERT_TRUE(read_sysctls(&fresh).ok());
  }).join();
  EXPECT_EQ(value_of(early, "ipv4/conf/default/forwarding"), "1");
  ASSERT_EQ(early.size(), fresh.size());
  for (int i = 0; i < early.size(); i++)
    EXPECT_EQ(early[i].SerializeAsString(), fresh[i].SerializeAsString()) << early[i].name();
}

}  // namespace
}  // namespace ncr::net_namespace
