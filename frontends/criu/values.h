// The syntax of criu(8)'s option values.
#pragma once

#include <nativecr/nativecr.hpp>
#include <string>

#include "frontends/criu/status.h"

namespace criu {

// KIND[OBJECT] or KIND[OBJECT]:VALUE: "mnt[/dev]:key", "net[4026531840]:key", "tty[8800:1]"
Status parse_external(const std::string& text, nativecr::External* external);
// fd[NUMBER]:KEY
Status parse_inherit_fd(const std::string& text, nativecr::InheritedFd* inherited);
// KIND:FILE or KIND:PID, user:FILE,UID,GID
Status parse_join_ns(const std::string& text, nativecr::JoinedNamespace* joined);
// [CONTROLLERS:]PATH, a path begins with a slash
Status parse_cgroup_root(const std::string& text, nativecr::CgroupRoot* root);
// A kind of namespace as its CLONE_NEW flag: "net"
Status parse_empty_ns(const std::string& text, uint64_t* flags);
Status parse_cgroup_mode(const std::string& text, ncr_cgroup_mode* mode);
Status parse_network_lock(const std::string& text, ncr_network_lock* lock);
// KEY:VALUE, or "auto"
Status parse_ext_mount_map(const std::string& text, nativecr::External* external);
// A decimal number from `least` to `most`
Status parse_number(const std::string& text, long least, long most, long* number);

// As a restore is to be told: what takes a mount's place is a path below "/", wherever the command
// is called from.
std::vector<nativecr::External> located(std::vector<nativecr::External> externals);

}  // namespace criu
