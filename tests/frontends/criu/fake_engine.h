// An engine that does nothing but remember what it was asked, so that the protocol is tested
// without privileges and without processes.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <string>
#include <vector>

#include "frontends/criu/engine.h"

namespace criu {

struct Seen {
  std::string call;
  pid_t pid = 0;
  std::string images_dir;
  ncr_final_state final_state = NCR_KILL;
  bool shell_job = false;
  bool sibling = false;
  std::string root;
  std::vector<nativecr::External> externals;
  std::vector<nativecr::InheritedFd> inherited;
  ncr_tcp tcp = NCR_TCP_REFUSE;
  ncr_cgroup_mode cgroups = NCR_CGROUP_IGNORE;
  bool serves_pages = false;  // it was given a socket that listens
};

class FakeEngine final : public Engine {
 public:
  std::vector<Seen> seen;
  Answer next;                                       // what the next calls answer
  std::vector<std::pair<std::string, pid_t>> hooks;  // moments that dump and restore pass
  int hook_fd = -1;
  pid_t root = 4242;

  Answer dump(const ncr_dump_options& options) override { return dumped("dump", options); }
  Answer predump(const ncr_dump_options& options) override { return dumped("predump", options); }
  Answer restore(const ncr_restore_options& options, pid_t* root_pid) override {
    Seen call;
    call.call = "restore";
    call.images_dir = options.images_dir;
    call.shell_job = options.shell_job != 0;
    call.sibling = options.sibling != 0;
    call.root = options.root == nullptr ? "" : options.root;
    for (size_t i = 0; i < options.n_externals; i++)
      call.externals.push_back(copy(options.externals[i]));
    for (size_t i = 0; i < options.n_inherited; i++)
      call.inherited.push_back({options.inherited[i].key, options.inherited[i].fd});
    call.tcp = options.tcp;
    call.cgroups = options.cgroups;
    seen.push_back(call);
    *root_pid = root;
    return pass_hooks(options.callbacks);
  }
  Answer check() override { return next; }
  Answer page_server(const ncr_page_server_options&) override { return next; }
  Answer lazy_pages(const ncr_lazy_pages_options&) override { return next; }
  Answer dedup(const std::string& images_dir) override {
    seen.push_back({});
    seen.back().call = "dedup";
    seen.back().images_dir = images_dir;
    return next;
  }
  bool can_predump() override { return true; }
  bool lazy = false;
  bool can_be_lazy() override { return lazy; }

 private:
  static nativecr::External copy(const ncr_external& external) {
    return {external.kind, external.object, external.value};
  }
  Answer dumped(const char* name, const ncr_dump_options& options) {
    Seen call;
    call.call = name;
    call.pid = options.pid;
    call.images_dir = options.images_dir;
    call.final_state = options.final_state;
    call.shell_job = options.shell_job != 0;
    call.root = options.root == nullptr ? "" : options.root;
    for (size_t i = 0; i < options.n_externals; i++)
      call.externals.push_back(copy(options.externals[i]));
    call.tcp = options.tcp;
    call.cgroups = options.cgroups;
    int listens = 0;
    socklen_t size = sizeof listens;
    call.serves_pages =
        ::getsockopt(options.page_server, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
        listens != 0;
    seen.push_back(call);
    return pass_hooks(options.callbacks);
  }
  Answer pass_hooks(const ncr_callbacks* callbacks) {
    if (callbacks->hook == nullptr) return next;
    for (const auto& [name, pid] : hooks) {
      const ncr_hook hook{name.c_str(), pid, name == "orphan-pts-master" ? hook_fd : -1};
      if (callbacks->hook(callbacks->user, &hook) != 0)
        return {NCR_SYSTEM, "", "the caller's hook " + name + " failed", 0};
    }
    return next;
  }
};

}  // namespace criu
