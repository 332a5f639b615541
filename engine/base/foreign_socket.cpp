#include "engine/base/foreign_socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/base/sys.h"

namespace ncr {

Result<Fd> socket_in(const Fd& net_namespace, int family, int type, int protocol) {
  Fd here = TRY(sys::open("/proc/thread-self/ns/net", O_RDONLY));
  TRY(SYSCALL(::setns(net_namespace.get(), CLONE_NEWNET), "setns to another network namespace"));
  Result<int> made = SYSCALL(::socket(family, type | SOCK_CLOEXEC, protocol), "socket");
  TRY(SYSCALL(::setns(here.get(), CLONE_NEWNET), "setns back"));
  return Fd(TRY(std::move(made)));
}

Result<Fd> socket_beside(const Fd& socket, int family, int type, int protocol) {
  Fd there(TRY(SYSCALL(::ioctl(socket.get(), SIOCGSKNS), "ioctl SIOCGSKNS")));
  return socket_in(there, family, type, protocol);
}

}  // namespace ncr
