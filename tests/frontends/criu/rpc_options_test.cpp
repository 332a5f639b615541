#include "frontends/criu/rpc_options.h"

#include <gtest/gtest.h>

#include "frontends/criu/option_table.h"

namespace criu {
namespace {

// images_dir_fd is always on the wire.
rpc::criu_opts opts_of(const std::string& more = {}) {
  rpc::criu_opts opts;
  opts.set_images_dir_fd(-1);
  EXPECT_TRUE(opts.MergeFromString(more));
  return opts;
}

Options applied(const rpc::criu_opts& opts) {
  Options options;
  const Status status = apply_rpc_options(opts, options);
  EXPECT_TRUE(status.ok()) << status.error;
  return options;
}

std::string refused(const rpc::criu_opts& opts) {
  Options options;
  const Status status = apply_rpc_options(opts, options);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.number, EBADRQC);
  return status.error;
}

TEST(criu_rpc_options, what_runc_asks_of_a_dump) {
  rpc::criu_opts opts = opts_of();
  opts.set_pid(12);
  opts.set_leave_running(false);
  opts.set_ext_unix_sk(true);
  opts.set_tcp_established(true);
  opts.set_shell_job(true);
  opts.set_file_locks(true);
  opts.set_log_level(4);
  opts.set_log_file("dump.log");
  opts.set_root("/rootfs");
  opts.set_auto_dedup(false);
  opts.set_link_remap(true);
  opts.set_manage_cgroups(true);
  opts.set_manage_cgroups_mode(rpc::FULL);
  opts.add_external("net[4026531840]:extRootNetNS");
  opts.set_empty_ns(0x40000000);
  opts.set_freeze_cgroup("/sys/fs/cgroup/x");
  opts.set_orphan_pts_master(true);
  const Options options = applied(opts);
  EXPECT_EQ(options.tree, 12);
  EXPECT_TRUE(options.ext_unix_sk);
  EXPECT_TRUE(options.tcp_established);
  EXPECT_TRUE(options.shell_job);
  EXPECT_EQ(options.verbosity, 4);
  EXPECT_EQ(options.log_file, "dump.log");
  EXPECT_EQ(options.root, "/rootfs");
  EXPECT_EQ(options.cgroups, NCR_CGROUP_FULL);
  ASSERT_EQ(options.externals.size(), 1u);
  EXPECT_EQ(options.externals[0].value, "extRootNetNS");
  EXPECT_EQ(options.empty_namespaces, 0x40000000u);
  EXPECT_EQ(options.freeze_cgroup, "/sys/fs/cgroup/x");
  EXPECT_TRUE(options.orphan_pts_master);
}

TEST(criu_rpc_options, what_runc_asks_of_a_restore) {
  rpc::criu_opts opts = opts_of();
  opts.set_evasive_devices(true);
  opts.set_rst_sibling(true);
  auto* root = opts.add_cg_root();
  root->set_path("/user.slice/x");
  auto* join = opts.add_join_ns();
  join->set_ns("ipc");
  join->set_ns_file("/proc/1/ns/ipc");
  opts.set_lsm_profile("apparmor:p");
  opts.set_lsm_mount_context("c");
  auto* inherited = opts.add_inherit_fd();
  inherited->set_key("extRootNetNS");
  inherited->set_fd(5);
  const Options options = applied(opts);
  EXPECT_TRUE(options.sibling);
  ASSERT_EQ(options.cgroup_roots.size(), 1u);
  EXPECT_EQ(options.cgroup_roots[0].controllers, "");
  ASSERT_EQ(options.joined.size(), 1u);
  EXPECT_EQ(options.joined[0].path, "/proc/1/ns/ipc");
  EXPECT_EQ(options.lsm_profile, "apparmor:p");
  EXPECT_EQ(options.lsm_mount_context, "c");
  ASSERT_EQ(options.inherited.size(), 1u);
  EXPECT_EQ(options.inherited[0].fd, 5);
}

TEST(criu_rpc_options, cgroups_are_left_alone_unless_they_are_asked_for) {
  EXPECT_EQ(applied(opts_of()).cgroups, NCR_CGROUP_IGNORE);
  rpc::criu_opts opts = opts_of();
  opts.set_manage_cgroups(false);
  EXPECT_EQ(applied(opts).cgroups, NCR_CGROUP_IGNORE);
  opts.set_manage_cgroups(true);
  EXPECT_EQ(applied(opts).cgroups, NCR_CGROUP_SOFT);
  opts.set_manage_cgroups_mode(rpc::DEFAULT);
  EXPECT_EQ(applied(opts).cgroups, NCR_CGROUP_SOFT);
  opts.set_manage_cgroups_mode(rpc::IGNORE);
  EXPECT_EQ(applied(opts).cgroups, NCR_CGROUP_IGNORE);
}

TEST(criu_rpc_options, what_is_refused_is_refused_by_name) {
  rpc::criu_opts opts = opts_of();
  opts.set_tls(true);
  EXPECT_NE(refused(opts).find("tls"), std::string::npos);
  opts.set_tls(false);
  (void)applied(opts);
  opts.add_skip_mnt("/x");
  EXPECT_NE(refused(opts).find("skip-mnt"), std::string::npos);
  opts = opts_of();
  opts.set_log_file("a/b");
  EXPECT_NE(refused(opts).find("log_file"), std::string::npos);
  opts = opts_of();
  opts.set_empty_ns(0x20000);
  EXPECT_NE(refused(opts).find("empty_ns"), std::string::npos);
}

TEST(criu_rpc_options, an_option_that_is_not_known_is_refused_if_it_asks_for_something) {
  (void)applied(opts_of(std::string("\xc8\x3e\x00", 3)));  // 1001: false
  EXPECT_NE(refused(opts_of(std::string("\xc8\x3e\x01", 3))).find("1001"), std::string::npos);
  EXPECT_NE(refused(opts_of(std::string("\xca\x3e\x01x", 4))).find("1001"), std::string::npos);
  // A mode that nobody knows
  EXPECT_NE(refused(opts_of(std::string("\x90\x02\x2a", 3))).find("34"), std::string::npos);
}

}  // namespace
}  // namespace criu
