#include "engine/resources/lsm/lsm.h"

#include <gtest/gtest.h>

namespace ncr::lsm {
namespace {

using schema::LsmLabels;

LsmLabels labels(LsmLabels::Module module, const char* current) {
  LsmLabels made;
  made.set_module(module);
  made.set_current(current);
  return made;
}

TEST(lsm, a_label_is_read_without_its_mode_and_end) {
  EXPECT_EQ(label_of("docker-default (enforce)\n"), "docker-default");
  EXPECT_EQ(label_of("a//&:ns:b (complain)\n"), "a//&:ns:b");
  EXPECT_EQ(label_of("unconfined\n"), "unconfined");
  EXPECT_EQ(label_of(std::string_view("system_u:system_r:container_t:s0:c1,c2\0", 39)),
            "system_u:system_r:container_t:s0:c1,c2");
  EXPECT_EQ(label_of(""), "");
}

TEST(lsm, who_is_under_no_rules) {
  EXPECT_TRUE(is_unconfined(labels(LsmLabels::APPARMOR, "unconfined")));
  EXPECT_FALSE(is_unconfined(labels(LsmLabels::APPARMOR, "docker-default")));
  EXPECT_TRUE(is_unconfined(labels(LsmLabels::SELINUX, "u:r:unconfined_t:s0")));
  EXPECT_TRUE(is_unconfined(labels(LsmLabels::SELINUX, "u:r:unconfined_t")));
  EXPECT_FALSE(is_unconfined(labels(LsmLabels::SELINUX, "u:r:unconfined_tool_t:s0")));
  EXPECT_FALSE(is_unconfined(labels(LsmLabels::SELINUX, "unconfined_t")));
}

TEST(lsm, a_profile_of_a_request) {
  Result<LsmLabels> apparmor = parse_profile("apparmor:docker-default");
  ASSERT_TRUE(apparmor.ok());
  EXPECT_EQ(apparmor.value().module(), LsmLabels::APPARMOR);
  EXPECT_EQ(apparmor.value().current(), "docker-default");
  Result<LsmLabels> selinux = parse_profile("selinux:system_u:system_r:container_t:s0:c1,c2");
  ASSERT_TRUE(selinux.ok());
  EXPECT_EQ(selinux.value().current(), "system_u:system_r:container_t:s0:c1,c2");
  EXPECT_EQ(parse_profile("").value().module(), LsmLabels::NONE);
  for (const char* wrong :
       {"smack:x", "apparmor:", "apparmor", "selinux:nocolons", "apparmor:a\nb"})
    EXPECT_EQ(parse_profile(wrong).error().code(), ErrorCode::kUsage) << wrong;
}

TEST(lsm, a_context_for_mounts) {
  EXPECT_EQ(mount_option("").value(), "");
  EXPECT_EQ(mount_option("system_u:object_r:container_file_t:s0").value(),
            "context=\"system_u:object_r:container_file_t:s0\"");
  EXPECT_FALSE(mount_option("a:b:c\",exec").ok());
  EXPECT_FALSE(mount_option("plain").ok());
}

TEST(lsm, the_request_goes_before_the_image) {
  schema::Task task;
  *task.mutable_lsm() = labels(LsmLabels::APPARMOR, "docker-default");
  RestoreRequest request;
  EXPECT_EQ(wanted(task, request).value().current(), "docker-default");
  request.lsm_profile = "apparmor:other";
  EXPECT_EQ(wanted(task, request).value().current(), "other");
}

TEST(lsm, a_label_of_a_module_that_is_not_here_is_refused) {
  if (sys::read_file("/proc/self/attr/current").ok()) GTEST_SKIP() << "a module labels processes";
  Image image;
  image.tasks.resize(1);
  *image.tasks[0].mutable_lsm() = labels(LsmLabels::SELINUX, "system_u:system_r:container_t:s0");
  Result<> answer = check_module(image, {});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(answer.error().text().find("container_t"), std::string::npos);
  *image.tasks[0].mutable_lsm() = labels(LsmLabels::APPARMOR, "unconfined");
  EXPECT_TRUE(check_module(image, {}).ok());
}

}  // namespace
}  // namespace ncr::lsm
