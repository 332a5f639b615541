// Terminal modes (engine and child): struct ktermios, read and set whole with TCGETS2 and TCSETS2,
// so that speeds of any value survive. A process in the background that sets them would be stopped
// by SIGTTOU: it is blocked meanwhile.
#include "engine/resources/tty/termios.h"

#include <asm/termbits.h>
#include <sys/ioctl.h>

#include <csignal>
#include <cstring>

#include "engine/base/undo.h"

namespace ncr::tty {

Result<> read_modes(const Fd& terminal, schema::Tty* out) {
  struct termios2 modes {};
  TRY(SYSCALL(::ioctl(terminal.get(), TCGETS2, &modes), "ioctl TCGETS2"));
  out->set_termios(&modes, sizeof modes);
  struct winsize size {};
  TRY(SYSCALL(::ioctl(terminal.get(), TIOCGWINSZ, &size), "ioctl TIOCGWINSZ"));
  out->set_window_size(&size, sizeof size);
  return {};
}

Result<> set_modes(const Fd& terminal, const schema::Tty& record) {
  struct termios2 modes {};
  struct winsize size {};
  if (record.termios().size() != sizeof modes || record.window_size().size() != sizeof size)
    return Error::malformed("the modes of a terminal have the wrong size");
  memcpy(&modes, record.termios().data(), sizeof modes);
  memcpy(&size, record.window_size().data(), sizeof size);
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTTOU);
  TRY(SYSCALL(::sigprocmask(SIG_BLOCK, &stop, &before), "sigprocmask"));
  Undo unblock([&] { ::sigprocmask(SIG_SETMASK, &before, nullptr); });
  TRY(SYSCALL(::ioctl(terminal.get(), TCSETS2, &modes), "ioctl TCSETS2"));
  TRY(SYSCALL(::ioctl(terminal.get(), TIOCSWINSZ, &size), "ioctl TIOCSWINSZ"));
  return {};
}

}  // namespace ncr::tty
