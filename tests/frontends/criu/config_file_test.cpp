#include "frontends/criu/config_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace criu {
namespace {

std::vector<std::string> arguments_of(const std::string& text) {
  std::vector<std::string> arguments;
  const Status status = parse_config(text, &arguments);
  EXPECT_TRUE(status.ok()) << status.error;
  return arguments;
}

TEST(criu_config, one_option_a_line_with_comments_quotes_and_equals) {
  EXPECT_EQ(arguments_of("# a comment\n\n  tcp-established \t# why\nlog-file=/tmp/x\n"
                         "action-script \"/a b # c\"\nwork-dir = /w\ntimeout 5"),
            (std::vector<std::string>{"--tcp-established", "--log-file=/tmp/x",
                                      "--action-script=/a b # c", "--work-dir=/w", "--timeout=5"}));
  EXPECT_TRUE(arguments_of("").empty());
}

TEST(criu_config, what_is_wrong_is_told_with_its_line) {
  for (const char* text : {"\n--tcp-close", "\na \"b", "\na b c", "\n\"\"", "\n=x"}) {
    std::vector<std::string> arguments;
    const Status status = parse_config(text, &arguments);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_NE(status.error.find("line 2"), std::string::npos);
  }
}

TEST(criu_config, a_file_sets_options_and_its_name_is_in_what_is_wrong_with_it) {
  const std::string path = testing::TempDir() + "criu_config_test.conf";
  std::ofstream(path) << "tcp-close\nno-shell-job\nverbosity 4\nmanage-cgroups strict\n";
  Options options;
  options.shell_job = true;
  ASSERT_TRUE(apply_config_file(path, IfMissing::kFail, options).ok());
  EXPECT_TRUE(options.tcp_close);
  EXPECT_FALSE(options.shell_job);
  EXPECT_EQ(options.verbosity, 4);
  EXPECT_EQ(options.cgroups, NCR_CGROUP_STRICT);
  std::ofstream(path) << "soup\n";
  const Status status = apply_config_file(path, IfMissing::kIgnore, options);
  EXPECT_NE(status.error.find(path), std::string::npos);
  EXPECT_NE(status.error.find("soup"), std::string::npos);
  std::remove(path.c_str());
}

TEST(criu_config, a_missing_file_is_an_error_only_if_it_was_asked_for) {
  Options options;
  EXPECT_TRUE(apply_config_file("/nonexistent/x", IfMissing::kIgnore, options).ok());
  EXPECT_FALSE(apply_config_file("/nonexistent/x", IfMissing::kFail, options).ok());
}

TEST(criu_config, the_environment_names_a_file) {
  const std::string path = testing::TempDir() + "criu_config_env.conf";
  std::ofstream(path) << "leave-running\n";
  ::setenv("CRIU_CONFIG_FILE", path.c_str(), 1);
  Options options;
  ASSERT_TRUE(apply_default_config(false, options).ok());
  ::unsetenv("CRIU_CONFIG_FILE");
  EXPECT_TRUE(options.leave_running);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace criu
