// The two queues of a pseudo-terminal (engine and child): what the slave wrote, in the buffers of
// the master's port, and what was typed, in the slave's line discipline (n_tty). The kernel shows
// neither without giving it away, so it is taken and put back at once, by a process aside that
// comes to its end even if we are killed; the processes at both ends stand still meanwhile. A line
// that is not finished yet can be read only while the terminal is not canonical. Typed bytes are
// put back with TIOCSTI, which goes through the line discipline at once, or through the master;
// echo, signals and editing are off meanwhile, so that each byte means itself. Written bytes go
// through the slave, with output processing off.
#include "engine/resources/tty/pty_queue.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "engine/base/call_code.h"
#include "engine/base/undo.h"
#include "engine/resources/aside.h"

namespace ncr::tty {
namespace {

constexpr size_t kMostBytes = 256 << 10;  // the kernel holds 64 KiB and a line
constexpr char kEndOfFile = 4;            // as typed; n_tty keeps a zero byte in its place

// Shared with the process aside.
struct Queues {
  size_t output_size;
  size_t input_size;
  char output[kMostBytes];
  char input[kMostBytes];
};

// The kernel hands bytes from buffer to buffer in the background; poll(2) waits for that
// (n_tty_poll), FIONREAD does not.
bool has_input(int fd) {
  pollfd state{fd, POLLIN, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & POLLIN) != 0;
}

// `prefix`: bytes that come before the data of each read (packet mode). A status that such a master
// has not fetched yet is lost.
size_t drain(int fd, size_t prefix, char* to) {
  size_t used = 0;
  char chunk[4096 + 1];
  while (used + sizeof chunk <= kMostBytes && has_input(fd)) {
    ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got <= 0) break;
    size_t size = static_cast<size_t>(got);
    if (size <= prefix) continue;
    memcpy(to + used, chunk + prefix, size - prefix);
    used += size - prefix;
  }
  return used;
}

struct termios2 without_processing(const struct termios2& from) {
  struct termios2 modes = from;
  modes.c_iflag =
      from.c_iflag & (IUTF8 | IXON);  // a master in packet mode is told of changes of IXON
  modes.c_oflag = 0;
  modes.c_lflag = 0;
  modes.c_cc[VMIN] = 0;
  modes.c_cc[VTIME] = 0;
  return modes;
}

// Canonical, but no byte edits, echoes or signals; ends of lines are those of `from`.
struct termios2 lines_only(const struct termios2& from) {
  struct termios2 modes = without_processing(from);
  modes.c_lflag = ICANON;
  for (int edits : {VERASE, VKILL, VINTR, VQUIT, VSUSP}) modes.c_cc[edits] = 0;
  modes.c_cc[VEOF] = kEndOfFile;
  return modes;
}

// How many bytes the slave can read when all of `input` has arrived: unfinished lines do not count,
// nor do ends of file.
size_t readable_of(std::string_view input, const struct termios2& modes) {
  if ((modes.c_lflag & ICANON) == 0) return input.size();
  size_t bytes = 0, lines = 0;
  for (char byte : input) {
    bytes += byte != 0 ? 1 : 0;
    const auto code = static_cast<unsigned char>(byte);
    const bool end =
        byte == '\n' || byte == 0 || code == modes.c_cc[VEOL] || code == modes.c_cc[VEOL2];
    if (end) lines = bytes;
  }
  return lines;
}

// What the master writes reaches the line discipline in the background. poll(2) waits for that
// while there is nothing to read; what follows the last line is there a moment after it.
void await_typed(int slave, size_t readable) {
  constexpr int kMostNaps = 1000;
  constexpr unsigned kNap = 1000;  // microseconds
  for (int naps = 0; naps < kMostNaps; naps++) {
    int now = 0;
    (void)has_input(slave);
    if (::ioctl(slave, FIONREAD, &now) != 0 || static_cast<size_t>(now) >= readable) break;
    ::usleep(kNap);
  }
  if (readable != 0) ::usleep(kNap);
}

// As bytes of the master: for who is denied TIOCSTI (in a user namespace, for one).
int type_by_master(int master, int slave, const struct termios2& modes, std::string_view input) {
  const bool canonical = (modes.c_lflag & ICANON) != 0;
  for (char byte : input) {
    const char typed = canonical && byte == 0 ? kEndOfFile : byte;
    const int failed = sys::code_of(::write(master, &typed, 1));
    if (failed != 0) return failed;
  }
  await_typed(slave, readable_of(input, modes));
  return 0;
}

int type(int master, int slave, const struct termios2& modes, std::string_view input) {
  const bool canonical = (modes.c_lflag & ICANON) != 0;
  for (size_t i = 0; i < input.size(); i++) {
    char byte = canonical && input[i] == 0 ? kEndOfFile : input[i];
    const int failed = sys::code_of(::ioctl(slave, TIOCSTI, &byte));
    if (i == 0 && (failed == EPERM || failed == EIO))
      return type_by_master(master, slave, modes, input);
    if (failed != 0) return failed;
  }
  return 0;
}

int put_back(int master, int slave, const struct termios2& modes, std::string_view output,
             std::string_view input) {
  bool canonical = (modes.c_lflag & ICANON) != 0;
  struct termios2 typing = canonical ? lines_only(modes) : without_processing(modes);
  int failed = sys::code_of(::ioctl(slave, TCSETS2, &typing));
  if (failed == 0) failed = type(master, slave, modes, input);
  while (!output.empty() && failed == 0) {
    ssize_t sent = ::write(slave, output.data(), output.size());
    failed = sys::code_of(sent);
    if (failed == 0) output.remove_prefix(static_cast<size_t>(sent));
  }
  int set = sys::code_of(::ioctl(slave, TCSETS2, &modes));
  return failed != 0 ? failed : set;
}

int take_and_put_back(int master, int slave, bool packet_mode, Queues* queues) {
  struct termios2 modes {};
  int failed = sys::code_of(::ioctl(slave, TCGETS2, &modes));
  struct termios2 raw = without_processing(modes);
  if (failed == 0) failed = sys::code_of(::ioctl(slave, TCSETS2, &raw));
  if (failed != 0) return failed;
  queues->output_size = drain(master, packet_mode ? 1 : 0, queues->output);
  queues->input_size = drain(slave, 0, queues->input);
  return put_back(master, slave, modes, {queues->output, queues->output_size},
                  {queues->input, queues->input_size});
}

// A slave that nobody has open must not be opened: the master would see it close again. One that is
// some session's terminal, and not hung up, is open.
bool slave_is_open(int master) {
  pollfd state{master, 0, 0};
  pid_t session = 0;
  if (::poll(&state, 1, 0) > 0 && (state.revents & POLLHUP) != 0) return false;
  return has_input(master) || (::ioctl(master, TIOCGSID, &session) == 0 && session != 0);
}

Result<Fd> open_slave_of(const Fd& master) {
  return Fd(
      TRY(SYSCALL(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC),
                  "ioctl TIOCGPTPEER")));
}

}  // namespace

Result<> read_queues(const Fd& master, bool packet_mode, schema::Tty* out) {
  if (!slave_is_open(master.get())) return {};
  Fd slave = TRY(open_slave_of(master));
  struct termios2 modes {};
  TRY(SYSCALL(::ioctl(slave.get(), TCGETS2, &modes), "ioctl TCGETS2"));
  bool canonical = (modes.c_lflag & ICANON) != 0;
  if (!canonical && !has_input(master.get()) && !has_input(slave.get())) return {};
  void* memory = ::mmap(nullptr, sizeof(Queues), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TRY(SYSCALL(memory == MAP_FAILED ? -1 : 0, "mmap for the queues of a terminal"));
  Undo unmap([&] { ::munmap(memory, sizeof(Queues)); });
  auto* queues = static_cast<Queues*>(memory);
  int failed = TRY(run_aside({.outlive_us = true}, [&] {
    return take_and_put_back(master.get(), slave.get(), packet_mode, queues);
  }));
  if (failed != 0) return Error::system(failed, "look at what waits in a terminal");
  out->set_output(queues->output, queues->output_size);
  out->set_input(queues->input, queues->input_size);
  return {};
}

Result<> fill_queues(const Fd& master, const schema::Tty& record) {
  if (record.output().empty() && record.input().empty()) return {};
  struct termios2 modes {};
  if (record.termios().size() != sizeof modes)
    return Error::malformed("the modes of a terminal have the wrong size");
  memcpy(&modes, record.termios().data(), sizeof modes);
  Fd slave = TRY(open_slave_of(master));
  int failed = put_back(master.get(), slave.get(), modes, record.output(), record.input());
  if (failed != 0) return Error::system(failed, "put back what waited in a terminal");
  return {};
}

}  // namespace ncr::tty
