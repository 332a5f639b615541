#include "frontends/criu/option_table.h"

#include <algorithm>
#include <type_traits>

#include "frontends/criu/values.h"

namespace criu {
namespace {

template <bool Options::*kMember>
Status flag(Options& options, const std::string& value) {
  options.*kMember = value != "0";
  return {};
}

template <std::string Options::*kMember>
Status text(Options& options, const std::string& value) {
  options.*kMember = value;
  return {};
}

template <std::vector<std::string> Options::*kMember>
Status texts(Options& options, const std::string& value) {
  (options.*kMember).push_back(value);
  return {};
}

template <auto kMember, auto kParse>
Status parsed_list(Options& options, const std::string& value) {
  typename std::remove_reference_t<decltype(options.*kMember)>::value_type item;
  Status parsed = kParse(value, &item);
  if (parsed.ok()) (options.*kMember).push_back(std::move(item));
  return parsed;
}

template <auto kMember, long kLeast, long kMost>
Status number(Options& options, const std::string& value) {
  long parsed = 0;
  Status status = parse_number(value, kLeast, kMost, &parsed);
  if (status.ok())
    options.*kMember = static_cast<std::remove_reference_t<decltype(options.*kMember)>>(parsed);
  return status;
}

// "-v" is one more than nothing is said, "-vvv" three; "-v4", "--verbosity=4" and, as criu's own
// tests write it, "-verbosity=4".
Status verbosity(Options& options, const std::string& value) {
  constexpr char kRestOfTheName[] = "erbosity=";
  if (value.find_first_not_of('v') == std::string::npos) {
    options.verbosity = static_cast<int>(std::min<size_t>(value.size(), 3)) + 1;
    return {};
  }
  std::string digits = value;
  if (digits.rfind(kRestOfTheName, 0) == 0) digits.erase(0, sizeof kRestOfTheName - 1);
  return number<&Options::verbosity, 0, 100>(options, digits);
}

// LXC says its console's --ext-mount-map once more as --external if the container has an empty
// network.
bool is_repeated_mount(const Options& options, const std::string& value) {
  nativecr::External mount;
  if (!parse_ext_mount_map(value, &mount).ok()) return false;
  return std::any_of(options.externals.begin(), options.externals.end(),
                     [&](const nativecr::External& given) {
                       return given.kind == mount.kind && given.object == mount.object &&
                              given.value == mount.value;
                     });
}

Status external(Options& options, const std::string& value) {
  if (is_repeated_mount(options, value)) return {};
  const bool automatic = value == "mnt[]" || value.rfind("mnt[]:", 0) == 0;
  if (!automatic) return parsed_list<&Options::externals, parse_external>(options, value);
  options.external_mounts_auto = true;
  return {};
}

Status ext_mount_map(Options& options, const std::string& value) {
  if (value != "auto") return parsed_list<&Options::externals, parse_ext_mount_map>(options, value);
  options.external_mounts_auto = true;
  return {};
}

// IN=OUT[@BRIDGE]
Status veth_pair(Options& options, const std::string& value) {
  const size_t equals = value.find('=');
  if (equals == std::string::npos)
    return Status::bad_option("veth-pair " + value + ": it is written IN=OUT[@BRIDGE]");
  options.externals.push_back({"veth", value.substr(0, equals), value.substr(equals + 1)});
  return {};
}

Status ext_unix_sk(Options& options, const std::string& value) {
  options.ext_unix_sk = value != "0";
  const bool is_inode = !value.empty() && value != "0" && value != "1";
  if (is_inode) options.externals.push_back({"unix", value, ""});
  return {};
}

Status manage_cgroups(Options& options, const std::string& value) {
  if (value == "0") options.cgroups = NCR_CGROUP_IGNORE;
  if (value == "0") return {};
  return parse_cgroup_mode(value.empty() || value == "1" ? "soft" : value, &options.cgroups);
}

Status empty_ns(Options& options, const std::string& value) {
  return parse_empty_ns(value, &options.empty_namespaces);
}

Status network_lock(Options& options, const std::string& value) {
  return parse_network_lock(value, &options.network_lock);
}

constexpr Takes kFlag = Takes::kFlag;
constexpr Takes kValue = Takes::kValue;
constexpr Takes kOptional = Takes::kOptional;
constexpr Policy kHonoured = Policy::kHonoured;
constexpr Policy kHarmless = Policy::kHarmless;
constexpr Policy kRefused = Policy::kRefused;
constexpr char kNoTls[] =
    "page transfers are not encrypted here; send them through a tunnel, such as ssh's";
constexpr char kNoProps[] =
    "which properties of a cgroup are kept is fixed; choose how they are put back with "
    "manage-cgroups";

// clang-format off
constexpr Option kOptions[] = {
    {"tree", 't', kValue, kHonoured, "pid", "", number<&Options::tree, 1, 1 << 30>},
    {"images-dir", 'D', kValue, kHonoured, "images_dir", "", text<&Options::images_dir>},
    {"work-dir", 'W', kValue, kHonoured, "work_dir_fd", "", text<&Options::work_dir>},
    {"log-file", 'o', kValue, kHonoured, "log_file", "", text<&Options::log_file>},
    {"verbosity", 'v', kOptional, kHonoured, "log_level", "", verbosity},
    {"log-to-stderr", 0, kFlag, kHonoured, "log_to_stderr", "", flag<&Options::log_to_stderr>},
    {"display-stats", 0, kFlag, kHonoured, "display_stats", "", flag<&Options::display_stats>},
    {"pidfile", 0, kValue, kHonoured, "", "", text<&Options::pidfile>},
    {"status-fd", 0, kValue, kHonoured, "status_fd", "", number<&Options::status_fd, 0, 1 << 30>},
    {"action-script", 0, kValue, kHonoured, "", "", texts<&Options::action_scripts>},
    {"config", 0, kValue, kHonoured, "config_file", "", text<&Options::config>},
    {"no-default-config", 0, kFlag, kHonoured, "", "", flag<&Options::no_default_config>},
    {"feature", 0, kValue, kHonoured, "", "", texts<&Options::features>},

    {"leave-running", 'R', kFlag, kHonoured, "leave_running", "", flag<&Options::leave_running>},
    {"leave-stopped", 's', kFlag, kHonoured, "leave_stopped", "", flag<&Options::leave_stopped>},
    {"restore-detached", 'd', kFlag, kHonoured, "", "", flag<&Options::detach>},
    {"daemon", 0, kFlag, kHonoured, "", "", flag<&Options::detach>},
    {"restore-sibling", 'S', kFlag, kHonoured, "rst_sibling", "", flag<&Options::sibling>},
    {"shell-job", 'j', kFlag, kHonoured, "shell_job", "", flag<&Options::shell_job>},
    {"timeout", 0, kValue, kHonoured, "timeout", "", number<&Options::timeout_s, 0, 4'000'000>},
    {"freeze-cgroup", 0, kValue, kHonoured, "freeze_cgroup", "", text<&Options::freeze_cgroup>},

    {"tcp-established", 0, kFlag, kHonoured, "tcp_established", "", flag<&Options::tcp_established>},
    {"tcp-close", 0, kFlag, kHonoured, "tcp_close", "", flag<&Options::tcp_close>},
    {"skip-in-flight", 0, kFlag, kHonoured, "tcp_skip_in_flight", "", flag<&Options::skip_in_flight>},
    {"network-lock", 0, kValue, kHonoured, "network_lock", "", network_lock},
    {"ext-unix-sk", 'x', kOptional, kHonoured, "ext_unix_sk", "", ext_unix_sk},

    {"root", 'r', kValue, kHonoured, "root", "", text<&Options::root>},
    {"external", 0, kValue, kHonoured, "external", "", external},
    {"ext-mount-map", 'M', kValue, kHonoured, "ext_mnt", "", ext_mount_map},
    {"veth-pair", 0, kValue, kHonoured, "veths", "", veth_pair},
    {"inherit-fd", 0, kValue, kHonoured, "inherit_fd", "", parsed_list<&Options::inherited, parse_inherit_fd>},
    {"join-ns", 'J', kValue, kHonoured, "join_ns", "", parsed_list<&Options::joined, parse_join_ns>},
    {"empty-ns", 0, kValue, kHonoured, "empty_ns", "", empty_ns},
    {"orphan-pts-master", 0, kFlag, kHonoured, "orphan_pts_master", "", flag<&Options::orphan_pts_master>},
    {"manage-cgroups", 0, kOptional, kHonoured, "manage_cgroups", "", manage_cgroups},
    {"cgroup-root", 0, kValue, kHonoured, "cg_root", "", parsed_list<&Options::cgroup_roots, parse_cgroup_root>},
    {"lsm-profile", 0, kValue, kHonoured, "lsm_profile", "", text<&Options::lsm_profile>},
    {"lsm-mount-context", 0, kValue, kHonoured, "lsm_mount_context", "", text<&Options::lsm_mount_context>},

    {"prev-images-dir", 0, kValue, kHonoured, "parent_img", "", text<&Options::parent_images>},
    {"track-mem", 0, kFlag, kHonoured, "track_mem", "", flag<&Options::track_memory>},
    {"page-server", 0, kFlag, kHonoured, "ps", "", flag<&Options::page_server>},
    {"address", 0, kValue, kHonoured, "ps", "", text<&Options::address>},
    {"port", 0, kValue, kHonoured, "ps", "", number<&Options::port, 0, 65535>},
    {"lazy-pages", 0, kFlag, kHonoured, "lazy_pages", "", flag<&Options::lazy_pages>},

    {"file-locks", 'l', kFlag, kHarmless, "file_locks", "locks of files are always kept", nullptr},
    {"link-remap", 0, kFlag, kHarmless, "link_remap", "a file without a name is kept in the image, linked nowhere", nullptr},
    {"evasive-devices", 0, kFlag, kHarmless, "evasive_devices", "a device is opened by its path, or refused by name", nullptr},
    {"ghost-limit", 0, kValue, kHarmless, "ghost_limit", "a file without a name is kept whatever its size", nullptr},
    {"ghost-fiemap", 0, kFlag, kHarmless, "", "holes of files are found without it", nullptr},
    {"force-irmap", 0, kFlag, kHarmless, "force_irmap", "what a watch is on is found by its handle, or refused by name", nullptr},
    {"irmap-scan-path", 0, kValue, kHarmless, "irmap_scan_paths", "what a watch is on is found by its handle, or refused by name", nullptr},
    {"cpu-cap", 0, kOptional, kHarmless, "cpu_cap", "an image asks for what its programs use of the CPU, and that is always checked", nullptr},
    {"enable-external-sharing", 0, kFlag, kHarmless, "ext_sharing", "an external mount may be shared", nullptr},
    {"enable-external-masters", 0, kFlag, kHarmless, "ext_masters", "an external mount may be another's receiver", nullptr},
    {"enable-fs", 0, kValue, kHarmless, "enable_fs", "a file system is known, or refused by name", nullptr},
    {"cgroup-yard", 0, kValue, kHarmless, "cgroup_yard", "hierarchies are used where they are mounted", nullptr},
    {"weak-sysctls", 0, kFlag, kHarmless, "weak_sysctls", "a sysctl that is not there is no error", nullptr},
    {"mntns-compat-mode", 0, kFlag, kHarmless, "mntns_compat_mode", "there is one way to make a mount tree, and it needs no other", nullptr},
    {"skip-file-rwx-check", 0, kFlag, kHarmless, "skip_file_rwx_check", "permissions of files are not compared", nullptr},
    {"pidfd-store", 0, kValue, kHarmless, "pidfd_store_sk", "a parent image is matched by what it says of the tasks", nullptr},
    {"pre-dump-mode", 0, kValue, kHarmless, "pre_dump_mode", "pages are read in one way", nullptr},
    {"image-io-mode", 0, kValue, kHarmless, "image_io_mode", "how an image gets to the disk does not change it", nullptr},
    {"auto-dedup", 0, kFlag, kHarmless, "auto_dedup", "it saves space only; dedup does it afterwards", nullptr},
    {"unprivileged", 0, kFlag, kHarmless, "unprivileged", "what is missing of privileges is named where it is needed", nullptr},
    {"libdir", 'L', kValue, kHarmless, "", "there are no plugins", nullptr},

    {"stream", 0, kFlag, kRefused, "", "images are directories; send pages with the page server", nullptr},
    {"exec-cmd", 0, kFlag, kRefused, "exec_cmd", "the command can be started after a restore that is detached", nullptr},
    {"skip-mnt", 0, kValue, kRefused, "skip_mnt", "a mount that is left out would be missed by the tree; name it external", nullptr},
    {"cgroup-props", 0, kValue, kRefused, "cgroup_props", kNoProps, nullptr},
    {"cgroup-props-file", 0, kValue, kRefused, "cgroup_props_file", kNoProps, nullptr},
    {"cgroup-dump-controller", 0, kValue, kRefused, "cgroup_dump_controller", kNoProps, nullptr},
    {"allow-uprobes", 0, kFlag, kRefused, "", "probes of other tools in the tree's code would be lost", nullptr},
    {"tls", 0, kFlag, kRefused, "tls", kNoTls, nullptr},
    {"tls-cacert", 0, kValue, kRefused, "tls_cacert", kNoTls, nullptr},
    {"tls-cacrl", 0, kValue, kRefused, "tls_cacrl", kNoTls, nullptr},
    {"tls-cert", 0, kValue, kRefused, "tls_cert", kNoTls, nullptr},
    {"tls-key", 0, kValue, kRefused, "tls_key", kNoTls, nullptr},
    {"tls-no-cn-verify", 0, kFlag, kRefused, "tls_no_cn_verify", kNoTls, nullptr},
};
// clang-format on

}  // namespace

std::span<const Option> option_table() { return kOptions; }

Status set_option(Options& options, const std::string& name, const std::string& value) {
  for (const Option& option : kOptions) {
    if (name != option.name) continue;
    if (option.policy == Policy::kHarmless) return {};
    const bool off = option.takes == Takes::kFlag && value == "0";
    if (option.policy == Policy::kRefused && off) return {};
    if (option.policy == Policy::kRefused)
      return Status::bad_option("option " + name + " is not supported: " + option.note);
    Status set = option.set(options, value);
    if (!set.ok() && set.error.rfind(name, 0) != 0) set.error = name + ": " + set.error;
    return set;
  }
  return Status::bad_option("there is no option " + name);
}

}  // namespace criu
