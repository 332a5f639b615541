#include "frontends/criu/calls.h"

#include "frontends/criu/values.h"

namespace criu {
namespace {

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

ncr_tcp tcp_of(const Options& options) {
  if (options.tcp_close) return NCR_TCP_CLOSE;
  return options.tcp_established ? NCR_TCP_KEEP : NCR_TCP_REFUSE;
}

}  // namespace

DumpCall::DumpCall(const Options& options, const std::string& images_dir,
                   const ncr_callbacks& callbacks)
    : externals_(nativecr::c_list(options.externals)) {
  constexpr uint32_t kMilliseconds = 1000;
  call_.pid = options.tree;
  call_.images_dir = images_dir.c_str();
  call_.final_state = options.leave_running   ? NCR_LEAVE_RUNNING
                      : options.leave_stopped ? NCR_LEAVE_STOPPED
                                              : NCR_KILL;
  call_.shell_job = options.shell_job;
  call_.freeze_cgroup = text_or_null(options.freeze_cgroup);
  call_.freeze_timeout_ms = options.timeout_s == 0 ? UINT32_MAX : options.timeout_s * kMilliseconds;
  call_.callbacks = &callbacks;
  call_.root = text_or_null(options.root);
  call_.externals = externals_.data();
  call_.n_externals = externals_.size();
  call_.external_mounts_auto = options.external_mounts_auto;
  call_.empty_namespaces = options.empty_namespaces;
  call_.tcp = tcp_of(options);
  call_.tcp_skip_in_flight = options.skip_in_flight;
  call_.network_lock = options.network_lock;
  call_.external_unix_sockets = options.ext_unix_sk;
  call_.cgroups = options.cgroups;
  call_.parent_images = text_or_null(options.parent_images);
  call_.track_memory = options.track_memory;
  call_.lazy_pages = options.lazy_pages;
  call_.orphan_pts_master = options.orphan_pts_master;
}

RestoreCall::RestoreCall(const Options& options, const std::string& images_dir,
                         const ncr_callbacks& callbacks)
    : located_(located(options.externals)),
      externals_(nativecr::c_list(located_)),
      inherited_(nativecr::c_list(options.inherited)),
      joined_(nativecr::c_list(options.joined)),
      cgroup_roots_(nativecr::c_list(options.cgroup_roots)) {
  call_.images_dir = images_dir.c_str();
  call_.shell_job = options.shell_job;
  call_.leave_stopped = options.leave_stopped;
  call_.sibling = options.sibling;
  call_.callbacks = &callbacks;
  call_.root = text_or_null(options.root);
  call_.externals = externals_.data();
  call_.n_externals = externals_.size();
  call_.inherited = inherited_.data();
  call_.n_inherited = inherited_.size();
  call_.joined = joined_.data();
  call_.n_joined = joined_.size();
  call_.empty_namespaces = options.empty_namespaces;
  call_.tcp = tcp_of(options);
  call_.cgroups = options.cgroups;
  call_.cgroup_roots = cgroup_roots_.data();
  call_.n_cgroup_roots = cgroup_roots_.size();
  call_.orphan_pts_master = options.orphan_pts_master;
  call_.lsm_profile = text_or_null(options.lsm_profile);
  call_.lsm_mount_context = text_or_null(options.lsm_mount_context);
  call_.lazy_pages = options.lazy_pages;
}

}  // namespace criu
