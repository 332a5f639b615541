#include "frontends/cli/container_options.h"

#include <cstdio>

#include "frontends/criu/action_script.h"
#include "frontends/criu/option_table.h"

namespace cli {
namespace {

void set(criu::Options& options, const char* name, const std::string& value) {
  const criu::Status set = criu::set_option(options, name, value);
  if (!set.ok()) throw CLI::ValidationError(set.error);
}

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace

void ContainerOptions::add(CLI::App& command, const char* name, const char* help) {
  auto take = [this, name](const std::vector<std::string>& values) {
    for (const std::string& value : values) set(options_, name, value);
  };
  command.add_option_function<std::vector<std::string>>(std::string("--") + name, take, help)
      ->allow_extra_args(false);
}

void ContainerOptions::add_flag(CLI::App& command, const char* name, const char* help) {
  command.add_flag_callback(
      std::string("--") + name, [this, name] { set(options_, name, "1"); }, help);
}

void ContainerOptions::add_common(CLI::App& command) {
  add(command, "empty-ns", "Make this namespace again, but not what is in it: net");
  add(command, "action-script", "Run this command at every moment, named by CRTOOLS_SCRIPT_ACTION");
  auto take = [this](const std::string& value) {
    set(options_, "manage-cgroups", value);
    cgroups_given_ = true;
  };
  command.add_option_function<std::string>(
      "--manage-cgroups", take,
      "What becomes of cgroups: ignore, none, props, soft (default), full or strict");
}

void ContainerOptions::add_to_dump(CLI::App& command) {
  add(command, "root", "Root of the tree's mount namespace, as seen from here");
  add(command, "external", "KIND[OBJECT]:KEY: only the key of this goes into the image");
  add_flag(command, "ext-unix-sk", "Peers of unix sockets may lie outside the tree");
  add_common(command);
}

void ContainerOptions::add_to_restore(CLI::App& command) {
  add(command, "root", "Mount point that becomes the root of the tree's mount namespace");
  add(command, "external", "KIND[KEY]:VALUE: what takes the place of what was outside");
  add(command, "join-ns", "KIND:FILE: join this namespace, whatever the image has");
  add(command, "inherit-fd", "fd[NUMBER]:KEY: a descriptor that takes the place of one outside");
  add(command, "cgroup-root", "[CONTROLLERS:]PATH: where the tree's root cgroup is to be");
  add_common(command);
}

void ContainerOptions::apply(ncr_dump_options& request) {
  externals_ = nativecr::c_list(options_.externals);
  request.root = text_or_null(options_.root);
  request.externals = externals_.data();
  request.n_externals = externals_.size();
  request.external_mounts_auto = options_.external_mounts_auto;
  request.empty_namespaces = options_.empty_namespaces;
  request.external_unix_sockets = options_.ext_unix_sk;
  if (cgroups_given_) request.cgroups = options_.cgroups;
}

void ContainerOptions::apply(ncr_restore_options& request) {
  externals_ = nativecr::c_list(options_.externals);
  inherited_ = nativecr::c_list(options_.inherited);
  joined_ = nativecr::c_list(options_.joined);
  cgroup_roots_ = nativecr::c_list(options_.cgroup_roots);
  request.root = text_or_null(options_.root);
  request.externals = externals_.data();
  request.n_externals = externals_.size();
  request.inherited = inherited_.data();
  request.n_inherited = inherited_.size();
  request.joined = joined_.data();
  request.n_joined = joined_.size();
  request.empty_namespaces = options_.empty_namespaces;
  request.cgroup_roots = cgroup_roots_.data();
  request.n_cgroup_roots = cgroup_roots_.size();
  if (cgroups_given_) request.cgroups = options_.cgroups;
}

bool ContainerOptions::pass(const ncr_hook& hook, const std::string& images) const {
  for (const std::string& script : options_.action_scripts) {
    const criu::Status run = criu::run_action_script(script, hook, images);
    if (!run.ok()) std::fprintf(stderr, "nativecr: %s\n", run.error.c_str());
    if (!run.ok()) return false;
  }
  return true;
}

}  // namespace cli
