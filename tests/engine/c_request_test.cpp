#include "engine/c_request.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "nativecr/nativecr.hpp"

namespace ncr {
namespace {

ncr_dump_options smallest_dump() {
  ncr_dump_options options NCR_DUMP_OPTIONS_INIT;
  options.pid = 7;
  options.images_dir = "/images";
  return options;
}

ncr_restore_options smallest_restore() {
  ncr_restore_options options NCR_RESTORE_OPTIONS_INIT;
  options.images_dir = "/images";
  return options;
}

TEST(c_request, what_is_not_set_is_as_the_engine_has_it) {
  const ncr_dump_options options = smallest_dump();
  const Result<DumpRequest> request = dump_request(&options);
  ASSERT_TRUE(request.ok());
  const DumpRequest defaults;
  EXPECT_EQ(request.value().cgroups, defaults.cgroups);
  EXPECT_EQ(request.value().tcp, defaults.tcp);
  EXPECT_EQ(request.value().network_lock, defaults.network_lock);
  EXPECT_EQ(request.value().page_server, defaults.page_server);
  EXPECT_EQ(request.value().freeze_timeout_ms, defaults.freeze_timeout_ms);
  EXPECT_TRUE(request.value().externals.empty());

  const ncr_restore_options restoring = smallest_restore();
  const Result<RestoreRequest> restore = restore_request(&restoring);
  ASSERT_TRUE(restore.ok());
  EXPECT_EQ(restore.value().cgroups, RestoreRequest().cgroups);
}

TEST(c_request, a_caller_of_an_older_header_gets_the_defaults_of_what_it_does_not_know) {
  ncr_dump_options options = smallest_dump();
  options.size = offsetof(ncr_dump_options, root);
  options.page_server = 3;
  options.cgroups = NCR_CGROUP_FULL;
  const Result<DumpRequest> request = dump_request(&options);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request.value().page_server, -1);
  EXPECT_EQ(request.value().cgroups, CgroupMode::kSoft);
}

TEST(c_request, a_dump_carries_everything_over) {
  const std::vector<nativecr::External> externals = {{"mnt", "/dev", "key"}};
  const auto list = nativecr::c_list(externals);
  ncr_dump_options options = smallest_dump();
  options.root = "/root";
  options.externals = list.data();
  options.n_externals = list.size();
  options.external_mounts_auto = 1;
  options.empty_namespaces = 0x40000000;
  options.tcp = NCR_TCP_CLOSE;
  options.tcp_skip_in_flight = 1;
  options.network_lock = NCR_LOCK_SKIP;
  options.external_unix_sockets = 1;
  options.orphan_pts_master = 1;
  options.cgroups = NCR_CGROUP_STRICT;
  options.parent_images = "../parent";
  options.track_memory = 1;
  options.page_server = 9;
  options.lazy_pages = 1;
  const Result<DumpRequest> got = dump_request(&options);
  ASSERT_TRUE(got.ok());
  const DumpRequest& request = got.value();
  EXPECT_EQ(request.root, "/root");
  ASSERT_EQ(request.externals.size(), 1u);
  EXPECT_EQ(request.externals[0].kind, "mnt");
  EXPECT_EQ(request.externals[0].object, "/dev");
  EXPECT_EQ(request.externals[0].value, "key");
  EXPECT_TRUE(request.external_mounts_auto);
  EXPECT_EQ(request.empty_namespaces, 0x40000000u);
  EXPECT_EQ(request.tcp, TcpPolicy::kClose);
  EXPECT_TRUE(request.tcp_skip_in_flight);
  EXPECT_EQ(request.network_lock, NetworkLockMethod::kSkip);
  EXPECT_TRUE(request.external_unix_sockets);
  EXPECT_TRUE(request.orphan_pts_master);
  EXPECT_EQ(request.cgroups, CgroupMode::kStrict);
  EXPECT_EQ(request.parent_images, "../parent");
  EXPECT_TRUE(request.track_memory);
  EXPECT_EQ(request.page_server, 9);
  EXPECT_TRUE(request.lazy_pages);
}

TEST(c_request, a_restore_carries_everything_over) {
  const std::vector<nativecr::External> external_owner = {{"mnt", "key", "/dev"}};
  const std::vector<nativecr::InheritedFd> inherited_owner = {{"pipe:[1]", 5}};
  const std::vector<nativecr::JoinedNamespace> joined_owner = {{"net", "/n"}};
  const std::vector<nativecr::CgroupRoot> root_owner = {{"cpu,memory", "/c"}};
  const auto externals = nativecr::c_list(external_owner);
  const auto inherited = nativecr::c_list(inherited_owner);
  const auto joined = nativecr::c_list(joined_owner);
  const auto roots = nativecr::c_list(root_owner);
  ncr_restore_options options = smallest_restore();
  options.root = "/root";
  options.externals = externals.data();
  options.n_externals = externals.size();
  options.inherited = inherited.data();
  options.n_inherited = inherited.size();
  options.joined = joined.data();
  options.n_joined = joined.size();
  options.empty_namespaces = 1;
  options.tcp = NCR_TCP_KEEP;
  options.cgroups = NCR_CGROUP_FULL;
  options.cgroup_roots = roots.data();
  options.n_cgroup_roots = roots.size();
  options.orphan_pts_master = 1;
  options.lsm_profile = "apparmor:p";
  options.lsm_mount_context = "label";
  options.lazy_pages = 1;
  options.lazy_pages_socket = "/socket";
  const Result<RestoreRequest> got = restore_request(&options);
  ASSERT_TRUE(got.ok());
  const RestoreRequest& request = got.value();
  EXPECT_EQ(request.root, "/root");
  ASSERT_EQ(request.externals.size(), 1u);
  EXPECT_EQ(request.externals[0].value, "/dev");
  ASSERT_EQ(request.inherited.size(), 1u);
  EXPECT_EQ(request.inherited[0].key, "pipe:[1]");
  EXPECT_EQ(request.inherited[0].fd, 5);
  ASSERT_EQ(request.joined.size(), 1u);
  EXPECT_EQ(request.joined[0].kind, "net");
  EXPECT_EQ(request.joined[0].path, "/n");
  EXPECT_EQ(request.empty_namespaces, 1u);
  EXPECT_EQ(request.tcp, TcpPolicy::kKeep);
  EXPECT_EQ(request.cgroups, CgroupMode::kFull);
  ASSERT_EQ(request.cgroup_roots.size(), 1u);
  EXPECT_EQ(request.cgroup_roots[0].controllers, "cpu,memory");
  EXPECT_EQ(request.cgroup_roots[0].path, "/c");
  EXPECT_TRUE(request.orphan_pts_master);
  EXPECT_EQ(request.lsm_profile, "apparmor:p");
  EXPECT_EQ(request.lsm_mount_context, "label");
  EXPECT_TRUE(request.lazy_pages);
  EXPECT_EQ(request.lazy_pages_socket, "/socket");
}

TEST(c_request, a_number_that_is_no_enumerator_is_refused_by_name) {
  ncr_dump_options options = smallest_dump();
  options.cgroups = static_cast<ncr_cgroup_mode>(NCR_CGROUP_STRICT + 1);
  const Result<DumpRequest> request = dump_request(&options);
  ASSERT_FALSE(request.ok());
  EXPECT_EQ(request.error().code(), ErrorCode::kUsage);
  EXPECT_NE(request.error().text().find("cgroups"), std::string::npos);
}

TEST(c_request, a_hook_is_called_with_the_moment_and_its_failure_fails_the_request) {
  struct Seen {
    std::string name;
    pid_t pid = 0;
    int answer = 0;
  } seen;
  ncr_callbacks callbacks NCR_CALLBACKS_INIT;
  callbacks.user = &seen;
  callbacks.hook = [](void* user, const ncr_hook* hook) {
    auto* into = static_cast<Seen*>(user);
    into->name = hook->name;
    into->pid = hook->pid;
    return into->answer;
  };
  ncr_dump_options options = smallest_dump();
  options.callbacks = &callbacks;
  const Result<DumpRequest> request = dump_request(&options);
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request.value().callbacks.hook({"pre-dump", 12, -1}).ok());
  EXPECT_EQ(seen.name, "pre-dump");
  EXPECT_EQ(seen.pid, 12);
  seen.answer = 1;
  const Result<> failed = request.value().callbacks.hook({"post-dump", 0, -1});
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().text().find("post-dump"), std::string::npos);
}

TEST(c_request, callbacks_of_an_older_header_have_no_hook) {
  ncr_callbacks callbacks NCR_CALLBACKS_INIT;
  callbacks.hook = [](void*, const ncr_hook*) { return 0; };
  callbacks.size = offsetof(ncr_callbacks, hook);
  ncr_dump_options options = smallest_dump();
  options.callbacks = &callbacks;
  const Result<DumpRequest> request = dump_request(&options);
  ASSERT_TRUE(request.ok());
  EXPECT_FALSE(request.value().callbacks.hook);
}

}  // namespace
}  // namespace ncr
