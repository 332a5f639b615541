// What containers need: namespaces, mounts and descriptors that come from outside, cgroups. Values
// are written as for criu(8).
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "frontends/criu/options.h"

namespace cli {

class ContainerOptions {
 public:
  void add_to_dump(CLI::App& command);
  void add_to_restore(CLI::App& command);
  // Lets the request borrow what was given.
  void apply(ncr_dump_options& request);
  void apply(ncr_restore_options& request);
  // Runs the action scripts; false if one failed.
  bool pass(const ncr_hook& hook, const std::string& images) const;

 private:
  void add(CLI::App& command, const char* name, const char* help);
  void add_flag(CLI::App& command, const char* name, const char* help);
  void add_common(CLI::App& command);

  criu::Options options_;
  bool cgroups_given_ = false;
  std::vector<ncr_external> externals_;
  std::vector<ncr_inherited_fd> inherited_;
  std::vector<ncr_joined_namespace> joined_;
  std::vector<ncr_cgroup_root> cgroup_roots_;
};

}  // namespace cli
