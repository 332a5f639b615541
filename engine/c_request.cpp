// From the C interface's structures to the engine's requests.
#include "engine/c_request.h"

#include <algorithm>
#include <cstring>

namespace ncr {
namespace {

std::string text_or_empty(const char* text) { return text == nullptr ? "" : text; }

// An options structure of an older caller is shorter than ours: what it does not have keeps its
// default.
template <class Options>
Result<Options> widened(const Options* given, const Options& defaults) {
  if (given == nullptr) return Error::usage("no options were given");
  if (given->size < sizeof(size_t) || given->size > sizeof(Options))
    return Error::usage(
        "options->size is not set; start from the NCR_..._INIT macro of the header you build with");
  Options options = defaults;
  std::memcpy(&options, given, given->size);
  return options;
}

Callbacks wrap(const ncr_callbacks* given) {
  Callbacks callbacks;
  if (given == nullptr) return callbacks;
  ncr_callbacks copy NCR_CALLBACKS_INIT;  // an older caller's is shorter
  std::memcpy(&copy, given, std::min(given->size, sizeof copy));
  if (copy.progress != nullptr)
    callbacks.progress = [copy](const Progress& p) {
      copy.progress(copy.user, p.phase, p.done, p.total);
    };
  if (copy.cancelled != nullptr)
    callbacks.cancelled = [copy] { return copy.cancelled(copy.user) != 0; };
  if (copy.log != nullptr)
    callbacks.log =
        Log(static_cast<LogLevel>(copy.log_level), [copy](LogLevel level, const std::string& line) {
          copy.log(copy.user, static_cast<ncr_log_level>(level), line.c_str());
        });
  if (copy.hook != nullptr)
    callbacks.hook = [copy](const Hook& hook) -> Result<> {
      const ncr_hook given_hook{hook.name, hook.pid, hook.fd};
      if (copy.hook(copy.user, &given_hook) == 0) return {};
      return Error(ErrorCode::kSystem, strf("the caller's hook %s failed", hook.name));
    };
  return callbacks;
}

// `given` has `count` elements, or is not looked at.
template <class Given, class Convert>
auto converted(const Given* given, size_t count, Convert&& convert) {
  std::vector<decltype(convert(*given))> list;
  for (size_t i = 0; given != nullptr && i < count; i++) list.push_back(convert(given[i]));
  return list;
}

External external_of(const ncr_external& given) {
  return {text_or_empty(given.kind), text_or_empty(given.object), text_or_empty(given.value)};
}

// Enumerators count alike on both sides of the interface; a number that is none is refused.
static_assert(static_cast<int>(TcpPolicy::kClose) == NCR_TCP_CLOSE &&
              static_cast<int>(NetworkLockMethod::kSkip) == NCR_LOCK_SKIP &&
              static_cast<int>(CgroupMode::kStrict) == NCR_CGROUP_STRICT);

template <class Ours, class Theirs>
Result<Ours> checked(Theirs value, Theirs last, const char* name) {
  if (static_cast<int>(value) < 0 || value > last)
    return Error::usage(strf("%s: %d is none of its values", name, static_cast<int>(value)));
  return static_cast<Ours>(value);
}

Result<> add_container_options(const ncr_dump_options& options, DumpRequest& request) {
  request.root = text_or_empty(options.root);
  request.externals = converted(options.externals, options.n_externals, external_of);
  request.external_mounts_auto = options.external_mounts_auto != 0;
  request.empty_namespaces = options.empty_namespaces;
  request.tcp = TRY(checked<TcpPolicy>(options.tcp, NCR_TCP_CLOSE, "tcp"));
  request.tcp_skip_in_flight = options.tcp_skip_in_flight != 0;
  request.network_lock =
      TRY(checked<NetworkLockMethod>(options.network_lock, NCR_LOCK_SKIP, "network_lock"));
  request.external_unix_sockets = options.external_unix_sockets != 0;
  request.orphan_pts_master = options.orphan_pts_master != 0;
  request.cgroups = TRY(checked<CgroupMode>(options.cgroups, NCR_CGROUP_STRICT, "cgroups"));
  request.parent_images = text_or_empty(options.parent_images);
  request.track_memory = options.track_memory != 0;
  request.page_server = options.page_server;
  request.lazy_pages = options.lazy_pages != 0;
  return {};
}

Result<> add_container_options(const ncr_restore_options& options, RestoreRequest& request) {
  request.root = text_or_empty(options.root);
  request.externals = converted(options.externals, options.n_externals, external_of);
  request.inherited =
      converted(options.inherited, options.n_inherited, [](const ncr_inherited_fd& given) {
        return InheritedFd{text_or_empty(given.key), given.fd};
      });
  request.joined = converted(options.joined, options.n_joined, [](const ncr_joined_namespace& ns) {
    return JoinedNamespace{text_or_empty(ns.kind), text_or_empty(ns.path)};
  });
  request.empty_namespaces = options.empty_namespaces;
  request.tcp = TRY(checked<TcpPolicy>(options.tcp, NCR_TCP_CLOSE, "tcp"));
  request.cgroups = TRY(checked<CgroupMode>(options.cgroups, NCR_CGROUP_STRICT, "cgroups"));
  request.cgroup_roots =
      converted(options.cgroup_roots, options.n_cgroup_roots, [](const ncr_cgroup_root& given) {
        return CgroupRoot{text_or_empty(given.controllers), text_or_empty(given.path)};
      });
  request.orphan_pts_master = options.orphan_pts_master != 0;
  request.lsm_profile = text_or_empty(options.lsm_profile);
  request.lsm_mount_context = text_or_empty(options.lsm_mount_context);
  request.lazy_pages = options.lazy_pages != 0;
  request.lazy_pages_socket = text_or_empty(options.lazy_pages_socket);
  return {};
}

}  // namespace

Result<DumpRequest> dump_request(const ncr_dump_options* given) {
  ncr_dump_options options = TRY(widened(given, ncr_dump_options NCR_DUMP_OPTIONS_INIT));
  if (options.pid <= 0)
    return Error::usage(strf("pid %d is not a process; name the root of the tree", options.pid));
  if (options.images_dir == nullptr) return Error::usage("no images directory was named");
  DumpRequest request;
  request.pid = options.pid;
  request.images_dir = options.images_dir;
  request.final_state = options.final_state == NCR_LEAVE_RUNNING   ? FinalState::kRun
                        : options.final_state == NCR_LEAVE_STOPPED ? FinalState::kStop
                                                                   : FinalState::kKill;
  request.shell_job = options.shell_job != 0 ? ShellJob::kInheritTerminal : ShellJob::kRefuse;
  request.freeze_cgroup = text_or_empty(options.freeze_cgroup);
  request.freeze_timeout_ms = options.freeze_timeout_ms;
  request.threads = options.threads;
  request.trace_file = text_or_empty(options.trace_file);
  request.callbacks = wrap(options.callbacks);
  TRY(add_container_options(options, request));
  return request;
}

Result<RestoreRequest> restore_request(const ncr_restore_options* given) {
  ncr_restore_options options = TRY(widened(given, ncr_restore_options NCR_RESTORE_OPTIONS_INIT));
  if (options.images_dir == nullptr) return Error::usage("no images directory was named");
  RestoreRequest request;
  request.images_dir = options.images_dir;
  request.after = options.leave_stopped != 0 ? AfterRestore::kStop : AfterRestore::kRun;
  request.shell_job = options.shell_job != 0 ? ShellJob::kInheritTerminal : ShellJob::kRefuse;
  request.root_is_sibling = options.sibling != 0;
  request.threads = options.threads;
  request.trace_file = text_or_empty(options.trace_file);
  request.callbacks = wrap(options.callbacks);
  TRY(add_container_options(options, request));
  return request;
}

Result<LazyPagesRequest> lazy_pages_request(const ncr_lazy_pages_options* given) {
  ncr_lazy_pages_options options =
      TRY(widened(given, ncr_lazy_pages_options NCR_LAZY_PAGES_OPTIONS_INIT));
  if (options.images_dir == nullptr) return Error::usage("no images directory was named");
  LazyPagesRequest request;
  request.images_dir = options.images_dir;
  request.socket_path = text_or_empty(options.socket_path);
  request.page_server = options.page_server;
  request.status_fd = options.status_fd;
  request.callbacks = wrap(options.callbacks);
  return request;
}

Result<PageServerRequest> page_server_request(const ncr_page_server_options* given) {
  ncr_page_server_options options =
      TRY(widened(given, ncr_page_server_options NCR_PAGE_SERVER_OPTIONS_INIT));
  if (options.images_dir == nullptr) return Error::usage("no images directory was named");
  PageServerRequest request;
  request.images_dir = options.images_dir;
  request.address = text_or_empty(options.address);
  request.port = options.port;
  request.socket = options.socket;
  request.status_fd = options.status_fd;
  request.callbacks = wrap(options.callbacks);
  return request;
}

}  // namespace ncr
