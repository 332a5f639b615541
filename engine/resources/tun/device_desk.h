// Who may open /dev/net/tun for a tree whose root is nobody on the machine: with a user namespace
// of its own, it may make links, but not open a node that is for the machine's root only.
#pragma once

#include <optional>

#include "engine/base/sys.h"
#include "engine/image/image_reader.h"
#include "engine/tree/side_process.h"

namespace ncr::tun {

constexpr const char* kNode = "/dev/net/tun";

class [[nodiscard]] DeviceDesk {
 public:
  // Coordinator, in the caller's namespaces, before there is a root task. Descriptors land at
  // fd_base or above.
  static Result<DeviceDesk> open(const Image& image, int fd_base);

  // Any task being born: the caller's node, opened in the network namespace of the task. kGone:
  // there is nobody at the desk.
  Result<Fd> ask(int flags) const;

 private:
  Fd window_;  // a socket, the same for all; invalid: nobody needs the desk
  std::optional<SideProcess> clerk_;
};

// `path`, or what the desk gives (null: there is none) if we may not open it.
Result<Fd> open_node(const char* path, int flags, const DeviceDesk* desk);

}  // namespace ncr::tun
