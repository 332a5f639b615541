#include "frontends/criu/option_table.h"

#include <gtest/gtest.h>

#include <set>

namespace criu {
namespace {

Options parsed(const std::vector<std::string>& arguments) {
  Options options;
  std::vector<std::string> words;
  const Status status = parse_arguments(arguments, options, &words);
  EXPECT_TRUE(status.ok()) << status.error;
  return options;
}

std::string refused(const std::vector<std::string>& arguments) {
  Options options;
  std::vector<std::string> words;
  const Status status = parse_arguments(arguments, options, &words);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.number, EBADRQC);
  return status.error;
}

TEST(criu_options, verbosity_is_written_in_every_way_that_callers_use) {
  EXPECT_EQ(parsed({"-v4"}).verbosity, 4);
  EXPECT_EQ(parsed({"-vvvv"}).verbosity, 4);
  EXPECT_EQ(parsed({"--verbosity=4"}).verbosity, 4);
  EXPECT_EQ(parsed({"-verbosity=0"}).verbosity, 0);
  EXPECT_EQ(parsed({"-v"}).verbosity, 1);
  EXPECT_EQ(parsed({}).verbosity, 2);
  refused({"-vx"});
}

TEST(criu_options, what_lxc_says_of_a_dump) {
  const Options options = parsed({"dump",
                                  "--tcp-established",
                                  "--file-locks",
                                  "--link-remap",
                                  "--manage-cgroups=full",
                                  "--ext-mount-map",
                                  "auto",
                                  "--enable-external-sharing",
                                  "--enable-external-masters",
                                  "--enable-fs",
                                  "hugetlbfs",
                                  "--enable-fs",
                                  "tracefs",
                                  "-D",
                                  "/d",
                                  "-o",
                                  "/d/dump.log",
                                  "--cgroup-root",
                                  "cpu,cpuacct:/lxc/a",
                                  "-v4",
                                  "--action-script",
                                  "/s",
                                  "--ext-mount-map",
                                  "/proc:proc",
                                  "-t",
                                  "99",
                                  "--skip-in-flight",
                                  "--freeze-cgroup",
                                  "/sys/fs/cgroup/freezer/lxc/a",
                                  "--external",
                                  "tty[8800:1]",
                                  "--force-irmap",
                                  "--ghost-limit",
                                  "1024",
                                  "--leave-running"});
  EXPECT_TRUE(options.tcp_established);
  EXPECT_TRUE(options.skip_in_flight);
  EXPECT_TRUE(options.leave_running);
  EXPECT_TRUE(options.external_mounts_auto);
  EXPECT_EQ(options.cgroups, NCR_CGROUP_FULL);
  EXPECT_EQ(options.tree, 99);
  EXPECT_EQ(options.images_dir, "/d");
  EXPECT_EQ(options.log_file, "/d/dump.log");
  EXPECT_EQ(options.freeze_cgroup, "/sys/fs/cgroup/freezer/lxc/a");
  ASSERT_EQ(options.cgroup_roots.size(), 1u);
  EXPECT_EQ(options.cgroup_roots[0].controllers, "cpu,cpuacct");
  ASSERT_EQ(options.externals.size(), 2u);
  EXPECT_EQ(options.externals[0].object, "/proc");
  EXPECT_EQ(options.externals[1].kind, "tty");
}

TEST(criu_options, lxc_says_a_mount_twice_when_the_network_is_empty) {
  const Options options = parsed({"--ext-mount-map", "console:", "--external", "console:"});
  ASSERT_EQ(options.externals.size(), 1u);
  EXPECT_EQ(options.externals[0].kind, "mnt");
  EXPECT_EQ(options.externals[0].object, "console");
}

TEST(criu_options, what_criu_s_own_tests_say_of_a_restore) {
  const Options options = parsed({"restore",
                                  "--mntns-compat-mode",
                                  "--restore-sibling",
                                  "--pidfile",
                                  "p",
                                  "--root",
                                  "/r",
                                  "--external",
                                  "mnt[ZDTM_DEV]:/dev",
                                  "--manage-cgroups",
                                  "--inherit-fd",
                                  "fd[5]:tty[1:2]",
                                  "--join-ns",
                                  "net:/run/netns/zdtm_netns",
                                  "--empty-ns",
                                  "net",
                                  "--restore-detached",
                                  "--status-fd",
                                  "9",
                                  "--pre-dump-mode",
                                  "splice"});
  EXPECT_TRUE(options.sibling);
  EXPECT_TRUE(options.detach);
  EXPECT_EQ(options.pidfile, "p");
  EXPECT_EQ(options.root, "/r");
  EXPECT_EQ(options.cgroups, NCR_CGROUP_SOFT);
  EXPECT_EQ(options.status_fd, 9);
  ASSERT_EQ(options.inherited.size(), 1u);
  EXPECT_EQ(options.inherited[0].fd, 5);
  ASSERT_EQ(options.joined.size(), 1u);
}

TEST(criu_options, words_keep_their_order_among_options) {
  Options options;
  std::vector<std::string> words;
  ASSERT_TRUE(parse_arguments({"swrk", "-v4", "3"}, options, &words).ok());
  EXPECT_EQ(words, (std::vector<std::string>{"swrk", "3"}));
}

TEST(criu_options, a_flag_is_taken_back_by_no) {
  EXPECT_FALSE(parsed({"--tcp-close", "--no-tcp-close"}).tcp_close);
  (void)parsed({"--no-mntns-compat-mode", "--no-ghost-fiemap", "--no-tls"});
}

TEST(criu_options, what_is_wrong_is_named) {
  EXPECT_NE(refused({"--soup"}).find("--soup"), std::string::npos);
  EXPECT_NE(refused({"-t"}).find("-t"), std::string::npos);
  EXPECT_NE(refused({"--tree=x"}).find("tree"), std::string::npos);
  EXPECT_NE(refused({"--tcp-close=1"}).find("--tcp-close"), std::string::npos);
  EXPECT_NE(refused({"--manage-cgroups=some"}).find("some"), std::string::npos);
}

TEST(criu_options, what_is_not_supported_is_refused_by_name_with_a_reason) {
  for (const Option& option : option_table()) {
    if (option.policy != Policy::kRefused) continue;
    Options options;
    const Status status = set_option(options, option.name, "1");
    ASSERT_FALSE(status.ok()) << option.name;
    EXPECT_NE(status.error.find(option.name), std::string::npos);
    EXPECT_NE(status.error.find(option.note), std::string::npos);
  }
}

TEST(criu_options, every_option_is_honoured_or_says_why_it_need_not_be) {
  std::set<std::string> names;
  std::set<char> letters;
  for (const Option& option : option_table()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    if (option.letter != 0) {
      EXPECT_TRUE(letters.insert(option.letter).second) << option.name;
    }
    EXPECT_EQ(option.set != nullptr, option.policy == Policy::kHonoured) << option.name;
    EXPECT_EQ(std::string(option.note).empty(), option.policy == Policy::kHonoured) << option.name;
  }
}

}  // namespace
}  // namespace criu
