#include "frontends/criu/rpc_options.h"

#include <google/protobuf/io/coded_stream.h>
#include <sched.h>

#include <algorithm>

#include "frontends/criu/option_table.h"

namespace criu {
namespace {

// Sets one option after the other, until one is wrong.
class Setter {
 public:
  explicit Setter(Options& options) : options_(options) {}
  Status take() { return std::move(status_); }
  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  void set(const char* name, const std::string& value) {
    if (status_.ok()) status_ = set_option(options_, name, value);
  }
  void flag(const char* name, bool given, bool value) {
    if (given) set(name, value ? "1" : "0");
  }
  void number(const char* name, bool given, long long value) {
    if (given) set(name, std::to_string(value));
  }
  void text(const char* name, bool given, const std::string& value) {
    if (given && !value.empty()) set(name, value);
  }
  template <class List>
  void list(const char* name, const List& values) {
    for (const auto& value : values) set(name, value);
  }

 private:
  Options& options_;
  Status status_;
};

void set_flags(const rpc::criu_opts& opts, Setter& to) {
  to.flag("leave-running", opts.has_leave_running(), opts.leave_running());
  to.flag("leave-stopped", opts.has_leave_stopped(), opts.leave_stopped());
  to.flag("ext-unix-sk", opts.has_ext_unix_sk(), opts.ext_unix_sk());
  to.flag("tcp-established", opts.has_tcp_established(), opts.tcp_established());
  to.flag("tcp-close", opts.has_tcp_close(), opts.tcp_close());
  to.flag("skip-in-flight", opts.has_tcp_skip_in_flight(), opts.tcp_skip_in_flight());
  to.flag("evasive-devices", opts.has_evasive_devices(), opts.evasive_devices());
  to.flag("shell-job", opts.has_shell_job(), opts.shell_job());
  to.flag("file-locks", opts.has_file_locks(), opts.file_locks());
  to.flag("track-mem", opts.has_track_mem(), opts.track_mem());
  to.flag("auto-dedup", opts.has_auto_dedup(), opts.auto_dedup());
  to.flag("link-remap", opts.has_link_remap(), opts.link_remap());
  to.flag("force-irmap", opts.has_force_irmap(), opts.force_irmap());
  to.flag("restore-sibling", opts.has_rst_sibling(), opts.rst_sibling());
  to.flag("enable-external-sharing", opts.has_ext_sharing(), opts.ext_sharing());
  to.flag("enable-external-masters", opts.has_ext_masters(), opts.ext_masters());
  to.flag("weak-sysctls", opts.has_weak_sysctls(), opts.weak_sysctls());
  to.flag("lazy-pages", opts.has_lazy_pages(), opts.lazy_pages());
  to.flag("orphan-pts-master", opts.has_orphan_pts_master(), opts.orphan_pts_master());
  to.flag("mntns-compat-mode", opts.has_mntns_compat_mode(), opts.mntns_compat_mode());
  to.flag("skip-file-rwx-check", opts.has_skip_file_rwx_check(), opts.skip_file_rwx_check());
  to.flag("unprivileged", opts.has_unprivileged(), opts.unprivileged());
  to.flag("display-stats", opts.has_display_stats(), opts.display_stats());
  to.flag("log-to-stderr", opts.has_log_to_stderr(), opts.log_to_stderr());
  to.flag("tls", opts.has_tls(), opts.tls());
  to.flag("tls-no-cn-verify", opts.has_tls_no_cn_verify(), opts.tls_no_cn_verify());
  if (opts.auto_ext_mnt()) to.set("ext-mount-map", "auto");
}

void set_values(const rpc::criu_opts& opts, Setter& to) {
  if (opts.pid() != 0) to.number("tree", opts.has_pid(), opts.pid());
  to.number("verbosity", opts.has_log_level(), std::max(opts.log_level(), 0));
  to.number("timeout", opts.has_timeout(), opts.timeout());
  to.number("ghost-limit", opts.has_ghost_limit(), opts.ghost_limit());
  to.number("cpu-cap", opts.has_cpu_cap(), opts.cpu_cap());
  to.number("pidfd-store", opts.has_pidfd_store_sk(), opts.pidfd_store_sk());
  to.number("pre-dump-mode", opts.has_pre_dump_mode(), opts.pre_dump_mode());
  to.number("image-io-mode", opts.has_image_io_mode(), opts.image_io_mode());
  to.text("root", opts.has_root(), opts.root());
  to.text("prev-images-dir", opts.has_parent_img(), opts.parent_img());
  to.text("freeze-cgroup", opts.has_freeze_cgroup(), opts.freeze_cgroup());
  to.text("lsm-profile", opts.has_lsm_profile(), opts.lsm_profile());
  to.text("lsm-mount-context", opts.has_lsm_mount_context(), opts.lsm_mount_context());
  to.text("cgroup-yard", opts.has_cgroup_yard(), opts.cgroup_yard());
  to.text("cgroup-props", opts.has_cgroup_props(), opts.cgroup_props());
  to.text("cgroup-props-file", opts.has_cgroup_props_file(), opts.cgroup_props_file());
  to.text("tls-cacert", opts.has_tls_cacert(), opts.tls_cacert());
  to.text("tls-cacrl", opts.has_tls_cacrl(), opts.tls_cacrl());
  to.text("tls-cert", opts.has_tls_cert(), opts.tls_cert());
  to.text("tls-key", opts.has_tls_key(), opts.tls_key());
  if (opts.log_file().find('/') != std::string::npos)
    to.fail(Status::bad_option("log_file " + opts.log_file() +
                               ": it is a plain name, the log is made in the work directory"));
  to.text("log-file", opts.has_log_file(), opts.log_file());
}

const char* mode_name(rpc::criu_cg_mode mode) {
  switch (mode) {
    case rpc::IGNORE:
      return "ignore";
    case rpc::CG_NONE:
      return "none";
    case rpc::PROPS:
      return "props";
    case rpc::FULL:
      return "full";
    case rpc::STRICT:
      return "strict";
    case rpc::SOFT:
    case rpc::DEFAULT:
      break;
  }
  return "soft";
}

void set_choices(const rpc::criu_opts& opts, Options& options, Setter& to) {
  to.flag("manage-cgroups", opts.has_manage_cgroups(), opts.manage_cgroups());
  if (opts.has_manage_cgroups_mode())
    to.set("manage-cgroups", mode_name(opts.manage_cgroups_mode()));
  if (opts.has_network_lock())
    to.set("network-lock", opts.network_lock() == rpc::SKIP ? "skip" : "nftables");
  if ((opts.empty_ns() & ~uint32_t{CLONE_NEWNET}) != 0)
    to.fail(Status::bad_option("empty_ns: only a net namespace can be left empty"));
  if ((opts.empty_ns() & CLONE_NEWNET) != 0) to.set("empty-ns", "net");
  if (opts.has_ps()) {
    to.flag("page-server", true, true);
    to.text("address", opts.ps().has_address(), opts.ps().address());
    to.number("port", opts.ps().has_port(), opts.ps().port());
    if (opts.ps().has_fd()) options.page_server_fd = opts.ps().fd();
  }
}

void set_lists(const rpc::criu_opts& opts, Options& options, Setter& to) {
  to.list("external", opts.external());
  to.list("exec-cmd", opts.exec_cmd());
  to.list("skip-mnt", opts.skip_mnt());
  to.list("enable-fs", opts.enable_fs());
  to.list("irmap-scan-path", opts.irmap_scan_paths());
  to.list("cgroup-dump-controller", opts.cgroup_dump_controller());
  // Paths may hold the colons that a command line takes them apart by.
  for (const auto& veth : opts.veths())
    options.externals.push_back({"veth", veth.if_in(), veth.if_out()});
  for (const auto& mount : opts.ext_mnt())
    options.externals.push_back({"mnt", mount.key(), mount.val()});
  for (const auto& socket : opts.unix_sk_ino())
    options.externals.push_back({"unix", std::to_string(socket.inode()), ""});
  for (const auto& root : opts.cg_root())
    options.cgroup_roots.push_back({root.ctrl(), root.path()});
  for (const auto& inherited : opts.inherit_fd())
    options.inherited.push_back({inherited.key(), inherited.fd()});
  for (const auto& join : opts.join_ns()) {
    const std::string extra = join.extra_opt().empty() ? "" : "," + join.extra_opt();
    to.set("join-ns", join.ns() + ":" + join.ns_file() + extra);
  }
}

// A number that is false or nothing may be new; one that asks for something may not be.
Status refuse_unknown(const std::string& fields) {
  using google::protobuf::io::CodedInputStream;
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(fields.data()),
                          static_cast<int>(fields.size()));
  while (const uint32_t tag = stream.ReadTag()) {
    const bool is_varint = (tag & 7) == 0;
    uint64_t value = 1;
    if (is_varint && stream.ReadVarint64(&value) && value == 0) continue;
    return Status::bad_option("option number " + std::to_string(tag >> 3) +
                              (is_varint ? ", with the value " + std::to_string(value) + "," : "") +
                              " is not known");
  }
  return {};
}

}  // namespace

Status apply_rpc_options(const rpc::criu_opts& opts, Options& options) {
  Setter to(options);
  to.fail(refuse_unknown(opts.unknown_fields()));
  set_flags(opts, to);
  set_values(opts, to);
  set_choices(opts, options, to);
  set_lists(opts, options, to);
  return to.take();
}

}  // namespace criu
