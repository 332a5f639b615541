// What a caller asks of the personality, whichever way it asks: a command line, a configuration
// file, or an RPC message. The names are criu(8)'s.
#pragma once

#include <nativecr/nativecr.hpp>
#include <string>
#include <vector>

namespace criu {

struct Options {
  pid_t tree = 0;
  std::string images_dir = ".";
  std::string work_dir;  // empty: the images directory
  std::string log_file;
  int verbosity = 2;
  bool log_to_stderr = false;
  bool display_stats = false;
  std::string pidfile;
  int status_fd = -1;

  bool leave_running = false;
  bool leave_stopped = false;
  bool detach = false;
  bool sibling = false;
  bool shell_job = false;
  bool tcp_established = false;
  bool tcp_close = false;
  bool skip_in_flight = false;
  bool ext_unix_sk = false;
  ncr_network_lock network_lock = NCR_LOCK_NFTABLES;
  ncr_cgroup_mode cgroups = NCR_CGROUP_IGNORE;
  std::vector<nativecr::CgroupRoot> cgroup_roots;
  std::string freeze_cgroup;
  unsigned timeout_s = 10;

  std::string root;
  std::vector<nativecr::External> externals;
  bool external_mounts_auto = false;
  std::vector<nativecr::InheritedFd> inherited;
  std::vector<nativecr::JoinedNamespace> joined;
  uint64_t empty_namespaces = 0;
  bool orphan_pts_master = false;
  std::string lsm_profile;
  std::string lsm_mount_context;

  std::vector<std::string> action_scripts;
  std::string config;
  bool no_default_config = false;

  std::string parent_images;
  bool track_memory = false;
  bool page_server = false;
  std::string address;
  int port = 0;
  int page_server_fd = -1;  // a connected socket in place of address and port
  bool lazy_pages = false;
  std::vector<std::string> features;
};

}  // namespace criu
