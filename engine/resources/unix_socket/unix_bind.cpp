// See unix_bind.h (child). A name is bound as the program wrote it, so a relative one from where
// the program stood, and one from within a chroot from there. A node that nobody is bound to any
// more is replaced: the kernel says so when a socket of another type connects to it (EPROTOTYPE if
// it is alive, ECONNREFUSED if not).
#include "engine/resources/unix_socket/unix_bind.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/call_code.h"
#include "engine/base/procfs.h"
#include "engine/tree/nested_users.h"

namespace ncr::unix_socket {
namespace {

constexpr const char* kScratchOfSockets = "root";

Result<Fd> make_scratch() {
  Fd context(static_cast<int>(
      TRY(SYSCALL(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs"))));
  TRY(SYSCALL(::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
              "fsconfig tmpfs"));
  return Fd(static_cast<int>(
      TRY(SYSCALL(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0), "fsmount tmpfs"))));
}

// Removes a dead socket's node; an error if something else is there.
Result<> free_node(const std::string& path, uint32_t type) {
  struct stat stat {};
  if (::lstat(path.c_str(), &stat) != 0) return {};
  if (!S_ISSOCK(stat.st_mode))
    return Error(ErrorCode::kSystem,
                 strf("%s: the name is taken by something that is not a socket; move it away",
                      path.c_str()));
  Fd probe(TRY(
      SYSCALL(::socket(AF_UNIX, (type == SOCK_DGRAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0),
              "socket")));
  std::string self = path;
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    Fd node = TRY(sys::open(path.c_str(), O_PATH | O_NOFOLLOW));
    self = TRY(procfs::path_from_here(strf("self/fd/%d", node.release())));
  }
  sockaddr_un address;
  socklen_t size = address_of(self, &address);
  Result<int> alive =
      SYSCALL(::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), size), "connect");
  if (alive.ok() || alive.error().os_error() != ECONNREFUSED)
    return Error(ErrorCode::kSystem,
                 strf("%s: another process is bound to this name; stop it first", path.c_str()));
  TRY(SYSCALL(::unlink(path.c_str()), "unlink %s", path.c_str()));
  return {};
}

// From where the name leads to the node: ours if a symbolic link is on the way.
Result<> bind_from_base(const Fd& fd, const std::string& name, const std::string& node) {
  Address address(name);
  address.directories.clear();
  std::string base;
  Aside where;
  Fd root;
  if (base_of(name, node, &base) && name[0] != '/') {
    where.directory = base.c_str();
  } else if (base.size() > 1) {
    root = TRY(sys::open(base.c_str(), O_PATH | O_DIRECTORY));
    where.root = root.get();
  } else if (name[0] != '/') {
    return Error(ErrorCode::kSystem,
                 strf("the name %s does not lead to %s", name.c_str(), node.c_str()));
  }
  return check_call(run_aside(where, [&] { return address.bind(fd.get()); }), "bind", name);
}

Result<> bind_from_base_or_as_owner(const Fd& fd, const std::string& name,
                                    const std::string& node) {
  Result<> bound = bind_from_base(fd, name, node);
  if (bound.ok() || bound.error().os_error() != EOVERFLOW) return bound;
  const ActingAs acting = TRY(ActingAs::owner_above(node));
  return bind_from_base(fd, name, node);
}

Result<> bind_at_node(const FileRestorer& files, const Fd& fd, const schema::UnixSocket& socket) {
  const std::string& path = socket.node().path();
  TRY(free_node(path, socket.type()));
  TRY(bind_from_base_or_as_owner(fd, socket.name(), path));
  TRY(SYSCALL(
      ::lchown(path.c_str(), files.user(socket.node().uid()), files.group(socket.node().gid())),
      "chown %s", path.c_str()));
  TRY(SYSCALL(::chmod(path.c_str(), socket.node().mode()), "chmod %s", path.c_str()));
  return {};
}

std::string node_key(uint64_t inode) {
  return strf("node of %llu", static_cast<unsigned long long>(inode));
}

// The name is bound and its node unlinked at once, so that the next socket can have the same name;
// who connects comes by a descriptor of the node.
Result<> bind_unlinked(FileRestorer& files, const Fd& fd, const schema::UnixSocket& socket) {
  TRY(bind_without_node(files, fd, socket.name(), Root::kOfSockets));
  if (is_abstract(socket.name())) return {};
  Fd scratch = files.take(kStash, kScratchOfSockets);
  const size_t start = socket.name().find_first_not_of('/');
  const std::string below = start == std::string::npos ? "" : socket.name().substr(start);
  Fd node = TRY(sys::open_at(scratch, below.c_str(), O_PATH | O_NOFOLLOW));
  TRY(SYSCALL(::unlinkat(scratch.get(), below.c_str(), 0), "unlink %s", below.c_str()));
  files.stash(kStash, kScratchOfSockets, std::move(scratch));
  files.stash(kStash, node_key(socket.inode()), std::move(node));
  return {};
}

}  // namespace

Address::Address(const std::string& name) : size(address_of(name, &address)) {
  if (is_abstract(name)) return;
  path = name;
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    directories.push_back(path.substr(0, at));
}

int Address::bind(int fd) const {
  for (const std::string& directory : directories) ::mkdir(directory.c_str(), 0777);
  return sys::code_of(::bind(fd, reinterpret_cast<const sockaddr*>(&address), size));
}

int Address::connect(int fd) const {
  return sys::code_of(::connect(fd, reinterpret_cast<const sockaddr*>(&address), size));
}

void Address::unlink() const {
  if (!path.empty()) ::unlink(path.c_str());
}

Result<int> root_for(FileRestorer& files, const std::string& name, Root root) {
  if (is_abstract(name)) return -1;
  const char* key = root == Root::kOfSenders ? "root of senders" : kScratchOfSockets;
  Fd scratch = files.take(kStash, key);
  if (!scratch.valid()) scratch = TRY(make_scratch());
  int number = scratch.get();
  files.stash(kStash, key, std::move(scratch));
  return number;
}

Result<> bind_without_node(FileRestorer& files, const Fd& fd, const std::string& name, Root root) {
  Address address(name);
  int directory = TRY(root_for(files, name, root));
  Result<int> bound = run_aside({.root = directory}, [&] {
    if (directory >= 0) address.unlink();  // of one that had the name before
    return address.bind(fd.get());
  });
  if (bound.ok() && bound.value() == EADDRINUSE)
    return Error(ErrorCode::kSystem, strf("the name %s is taken by another process; stop it first",
                                          printable(name).c_str()));
  return check_call(std::move(bound), "bind", name);
}

Result<> bind_socket(FileRestorer& files, const Fd& fd, const schema::UnixSocket& socket) {
  if (socket.name().empty()) return {};
  if (socket.has_node()) return bind_at_node(files, fd, socket);
  return bind_unlinked(files, fd, socket);
}

Result<Address> address_to(FileRestorer& files, const schema::UnixSocket& socket) {
  if (socket.has_node()) return Address(socket.node().path());
  if (is_abstract(socket.name())) return Address(socket.name());
  Fd node = files.take(kStash, node_key(socket.inode()));
  if (!node.valid())
    return Error::malformed("a unix socket is connected to one that nothing has made");
  const int number = node.get();
  files.stash(kStash, node_key(socket.inode()), std::move(node));
  return Address(TRY(procfs::path_from_here(strf("self/fd/%d", number))));
}

Result<> check_call(Result<int> error, const char* what, const std::string& name) {
  int failed = TRY(std::move(error));
  if (failed == 0) return {};
  return Error::system(failed, strf("%s %s", what, printable(name).c_str()));
}

}  // namespace ncr::unix_socket
