// The parasite's way in and out of a task, as docs/adr/0001 tells it. Runs in the engine, which may
// be killed between any two of these calls: whatever the thread's registers are then is what it
// runs on with, so a change of registers always comes after all that the new ones rely on, and
// anything they stand for is undone before they change.
//
// In the target: the springboard (bytes in the vDSO's padding, one page copied on write), the area
// (one private mapping: blob, stacks, buffers), one socket. The signal mask is blocked while the
// blob runs; signals that arrive stay pending. The kernel's restart block stays the interrupted
// call's own.
#include "engine/tracee/parasite.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cstddef>
#include <optional>

#include "arch/arch.h"
#include "engine/base/turns.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/rseq.h"
#include "parasite/session.h"

extern "C" const unsigned char parasite_blob_start[];
extern "C" const unsigned char parasite_blob_end[];

namespace ncr {
namespace {

// A step back that failed is taken again: nothing of ours may stay in a target because one call on
// the way out was refused.
template <class Step>
Result<> insist(Step step) {
  Result<> taken = step();
  for (int tries = 0; tries < 2 && !taken.ok() && taken.error().code() != ErrorCode::kGone; tries++)
    taken = step();
  return taken;
}

constexpr uint64_t kAllSignals = ~uint64_t{0};
constexpr size_t kThreadSlot = arch::kLeaderBoardRoom;
constexpr size_t kSpringboardSize = kThreadSlot + arch::kThreadBoardRoom;

size_t blob_size() { return static_cast<size_t>(parasite_blob_end - parasite_blob_start); }

uint64_t as_arguments(int number) { return static_cast<uint64_t>(static_cast<int64_t>(number)); }

RemoteAddress session_of(RemoteAddress block) { return block + offsetof(parasite::Block, session); }

parasite::Session make_session(RemoteAddress area, RemoteAddress block, uint64_t leave,
                               uint64_t flags) {
  parasite::Session session{};
  session.area = area.value;
  session.leave = leave;
  session.flags = flags;
  session.request = block.value + offsetof(parasite::Block, request);
  session.reply = block.value + offsetof(parasite::Block, reply);
  session.sockets[0] = session.sockets[1] = -1;
  return session;
}

// The number by which the thread knows itself, which is what the kernel compares a PI futex with.
Result<uint32_t> inner_tid(pid_t pid, pid_t tid) {
  struct stat ours {};
  struct stat theirs {};
  TRY(SYSCALL(::stat("/proc/self/ns/pid", &ours), "stat /proc/self/ns/pid"));
  TRY(SYSCALL(::stat(strf("/proc/%d/ns/pid", pid).c_str(), &theirs), "stat /proc/%d/ns/pid", pid));
  if (ours.st_ino == theirs.st_ino) return static_cast<uint32_t>(tid);
  const std::string status = TRY(sys::read_file(strf("/proc/%d/task/%d/status", pid, tid).c_str()));
  const size_t line = status.find("\nNSpid:");
  if (line == std::string::npos)
    return Error::unsupported("the kernel does not tell a thread's number in its PID namespace");
  const std::string numbers = status.substr(line + 1, status.find('\n', line + 1) - line - 1);
  return static_cast<uint32_t>(std::stoul(numbers.substr(numbers.find_last_of(" \t") + 1)));
}

}  // namespace

// How far the leader has come; leaving goes back from wherever that is.
struct Parasite::Impl {
  explicit Impl(SeizedThread& thread) : leader(thread) {}

  SeizedThread& leader;
  pid_t pid = leader.tid();
  arch::Registers own{};  // as found, out of any restartable sequence
  uint64_t mask = 0;
  KnownVdso vdso;
  std::optional<RemotePatch> patch;
  RemoteAddress place;  // of the springboard, 0 if none is there
  arch::LeaderBoard board{};
  bool moved = false;    // registers or mask are not the leader's own
  bool calling = false;  // a call of ours may have been made, its result not yet seen
  RemoteAddress area;
  uint64_t area_size = page_ceil(blob_size()) + 2 * sizeof(parasite::Block);
  std::vector<int> descriptors;
  bool both_ends = false;  // the blob has not closed the engine's end yet
  bool running = false;
  RunningState state = RunningState::kRuns;
  bool thread_inside = false;  // one could not be given back
  Fd socket;

  RemoteAddress leader_block() const { return area + page_ceil(blob_size()); }
  RemoteAddress thread_block() const { return leader_block() + sizeof(parasite::Block); }
  RemoteAddress lock() const {
    return session_of(leader_block()) + offsetof(parasite::Session, inside);
  }

  Result<> enter(const Fd& pidfd);
  Result<> lay_springboard();
  Result<> map_area();
  Result<> start_blob();
  Result<> take_socket(const Fd& pidfd);

  Result<> send(std::string_view datagram);
  Result<> receive(const SeizedThread& from, RunningState* its_state, Batch& batch,
                   size_t datagram);
  Result<> run_datagram(Batch& batch, size_t datagram);
  Result<> run_datagram_in_thread(SeizedThread& thread, uint32_t number, Batch& batch,
                                  size_t datagram);

  Result<> leave();
  Result<> stop_leader();
  Result<> settle_call();
  Result<> see_sockets();
  Result<> call(const arch::Registers& registers);
  Result<> close_in_target(int descriptor);
  Result<> unmap_area();
};

Result<> Parasite::Impl::enter(const Fd& pidfd) {
  TRY(lay_springboard());
  TRY(map_area());
  TRY(start_blob());
  TRY(take_socket(pidfd));
  running = true;
  return leader.resume();
}

// Harmless until registers point to it.
Result<> Parasite::Impl::lay_springboard() {
  const arch::Registers found = TRY(get_registers(leader));
  mask = TRY(leader.signal_mask());
  TRY(prepare_remote_calls(leader));
  own = TRY(leave_restartable_sequence(leader, found));
  const RemoteAddress free_place = TRY(find_springboard_place(pid, vdso, kSpringboardSize));
  board = arch::leader_board(free_place.value + sizeof kSpringboardMagic,
                             arch::resume_registers(own, arch::ResumeIn::kSameTask), mask,
                             static_cast<uint32_t>(area_size));
  if (board.bytes.empty())
    return Error::unsupported(
        strf("task %d: its code is out of reach of the place from which to return to it", pid));
  std::string bytes(reinterpret_cast<const char*>(kSpringboardMagic), sizeof kSpringboardMagic);
  bytes.append(board.bytes.begin(), board.bytes.end());
  patch = TRY(RemotePatch::open(pid));
  place = free_place;
  return patch->write(place, bytes.data(), bytes.size());
}

// The registers change before the mask does: only the springboard puts the mask back.
Result<> Parasite::Impl::map_area() {
  arch::Registers registers = own;
  arch::set_ip(registers, board.map_call);
  arch::set_syscall(registers, arch::kMmap,
                    {0, area_size, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, as_arguments(-1), 0});
  moved = true;
  TRY(set_registers(leader, registers));
  TRY(leader.set_signal_mask(kAllSignals));
  calling = true;
  TRY(run_one_call(leader));
  const arch::Registers after = TRY(get_registers(leader));
  calling = false;
  const int64_t mapped = arch::result(after);
  if (mapped < 0 && mapped >= -4095)
    return Error::system(static_cast<int>(-mapped),
                         strf("task %d: it cannot map %llu KiB of executable memory", pid,
                              static_cast<unsigned long long>(area_size / 1024)));
  area = {static_cast<uint64_t>(mapped)};
  return {};
}

Result<> Parasite::Impl::start_blob() {
  parasite::Session session = make_session(area, leader_block(), board.leave, arch::flags(own));
  session.role = parasite::Role::kLeader;
  TRY(write_remote(pid, area, parasite_blob_start, blob_size()));
  TRY(write_remote(pid, session_of(leader_block()), &session, sizeof session));
  const uint64_t stack = leader_block().value + sizeof(parasite::Block::stack);
  return set_registers(leader,
                       arch::enter_blob(own, area.value, stack, session_of(leader_block()).value));
}

// The blob's first call makes the socket pair and its second closes the engine's end, so between
// the two is the time to take it.
Result<> Parasite::Impl::take_socket(const Fd& pidfd) {
  calling = true;
  TRY(run_one_call(leader));
  TRY(see_sockets());
  calling = false;
  if (descriptors.empty()) {
    const arch::Registers after = TRY(get_registers(leader));
    return Error::system(static_cast<int>(-arch::result(after)),
                         strf("task %d cannot have two more descriptors for a while (raise its "
                              "RLIMIT_NOFILE: prlimit --pid %d "
                              "--nofile=N)",
                              pid, pid));
  }
  socket = TRY(sys::pidfd_getfd(pidfd, descriptors[1]));
  return {};
}

Result<> Parasite::Impl::see_sockets() {
  parasite::Session session{};
  TRY(read_remote(pid, session_of(leader_block()), &session, sizeof session));
  if (session.sockets[0] < 0) return {};
  descriptors = {session.sockets[0], session.sockets[1]};
  both_ends = true;
  return {};
}

Result<> Parasite::Impl::send(std::string_view datagram) {
  Result<ssize_t> sent =
      SYSCALL(::send(socket.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL),
              "send %zu bytes to the parasite", datagram.size());
  if (sent.ok()) return {};
  if (sent.error().os_error() == EPIPE || sent.error().os_error() == ECONNRESET)
    return Error::gone(strf("task %d is gone", pid));
  return sent.take_error();
}

Result<> Parasite::Impl::receive(const SeizedThread& from, RunningState* its_state, Batch& batch,
                                 size_t datagram) {
  alignas(8) char buffer[wire::kMaxDatagram];
  for (Patience patience;; patience.wait_for(socket.get())) {
    Result<ssize_t> got = SYSCALL(::recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT),
                                  "hear from the parasite in thread %d", from.tid());
    if (got.ok() && got.value() > 0)
      return batch.decode(datagram, buffer, static_cast<size_t>(got.value()));
    if (got.ok() || got.error().os_error() == ECONNRESET)
      return Error::gone(strf("task %d is gone", pid));
    if (got.error().os_error() != EAGAIN) return got.take_error();
    if (!patience.is_long()) continue;
    *its_state = TRY(look_after(from));
    if (*its_state == RunningState::kCrashed)
      return Error::system(
          EFAULT, strf("the parasite crashed in thread %d, which goes on unharmed", from.tid()));
  }
}

Result<> Parasite::Impl::run_datagram(Batch& batch, size_t datagram) {
  TRY(send(batch.encoded(datagram)));
  TRY(receive(leader, &state, batch, datagram));
  both_ends = false;
  return {};
}

// The thread's registers stand at T before the lock names it, and until the lock is open again: T
// is the way that opens it.
Result<> Parasite::Impl::run_datagram_in_thread(SeizedThread& thread, uint32_t number, Batch& batch,
                                                size_t datagram) {
  const arch::Registers found = TRY(get_registers(thread));
  const uint64_t its_mask = TRY(thread.signal_mask());
  TRY(prepare_remote_calls(thread));
  const arch::Registers its_own = TRY(leave_restartable_sequence(thread, found));
  const RemoteAddress slot = place + kThreadSlot;
  const arch::ThreadBoard out =
      arch::thread_board(slot.value, arch::resume_registers(its_own, arch::ResumeIn::kSameTask),
                         its_mask, lock().value);
  if (out.bytes.empty())
    return Error::unsupported(
        strf("thread %d: its code is out of reach of the place from which to return to it",
             thread.tid()));
  TRY(patch->write(slot, out.bytes.data(), out.bytes.size()));

  const std::string_view request = batch.encoded(datagram);
  parasite::Session session = make_session(area, thread_block(), out.leave, arch::flags(its_own));
  session.role = parasite::Role::kThread;
  session.request_size = request.size();
  session.sockets[0] = descriptors[0];
  std::string bytes(reinterpret_cast<const char*>(&session), sizeof session);
  bytes.append(request);
  TRY(write_remote(pid, session_of(thread_block()), bytes.data(), bytes.size()));

  const uint64_t stack = thread_block().value + sizeof(parasite::Block::stack);
  arch::Registers leaving = arch::resume_registers(its_own, arch::ResumeIn::kSameTask);
  arch::set_ip(leaving, out.leave);
  RunningState its_state = RunningState::kRuns;
  bool runs = false;
  auto give_back = [&]() -> Result<> {
    const uint32_t nobody = 0;
    if (runs) TRY(halt(thread, its_state));
    TRY(set_registers(thread, leaving));
    TRY(thread.set_signal_mask(its_mask));
    TRY(write_remote(pid, lock(), &nobody, sizeof nobody));
    return set_registers(thread, its_own);
  };
  auto visit = [&]() -> Result<> {
    TRY(set_registers(thread, leaving));
    TRY(write_remote(pid, lock(), &number, sizeof number));
    TRY(thread.set_signal_mask(kAllSignals));
    TRY(set_registers(
        thread, arch::enter_blob(its_own, area.value, stack, session_of(thread_block()).value)));
    TRY(thread.resume());
    runs = true;
    return receive(thread, &its_state, batch, datagram);
  };
  Result<> visited = visit();
  Result<> given_back = insist(give_back);
  if (!given_back.ok()) thread_inside = true;
  TRY(std::move(visited));
  return given_back;
}

// Back from wherever enter() has come to. May be called again after it failed half way.
Result<> Parasite::Impl::leave() {
  if (thread_inside) {
    // Its way out is the blob's: the socket closes, and the leader waits for it before it unmaps.
    socket.close();
    return Error::system(EBUSY, strf("task %d: a thread is still in the parasite", pid));
  }
  if (calling) TRY(settle_call());
  if (running) TRY(stop_leader());
  if (area.value != 0) TRY(unmap_area());
  if (moved) {
    TRY(leader.set_signal_mask(mask));
    TRY(set_registers(leader,
                      own));  // with the interrupted call, which the kernel restarts by itself
    moved = false;
  }
  if (place.value != 0) {
    const char zeroes[kSpringboardSize] = {};
    TRY(patch->write(place, zeroes, sizeof zeroes));
    place = {};
  }
  return {};
}

// An answer proves that the blob is past its first calls and has closed the engine's end.
Result<> Parasite::Impl::stop_leader() {
  if (leader.stopped()) TRY(leader.resume());  // it was never let go
  if (both_ends && state == RunningState::kRuns) {
    Batch nothing;
    nothing.ask_nothing();
    TRY(run_datagram(nothing, 0));
  }
  TRY(halt(leader, state));
  state = RunningState::kRuns;
  running = false;
  return {};
}

// After a failure in the midst of a call: lets it end, and sees what it did. No instruction is run
// after it.
Result<> Parasite::Impl::settle_call() {
  TRY(halt(leader, RunningState::kCrashed));
  const arch::Registers after = TRY(get_registers(leader));
  const bool mapped = area.value == 0 && arch::ip(after) == board.map_call + arch::kSyscallLength;
  if (area.value != 0 && descriptors.empty()) TRY(see_sockets());
  if (mapped && (arch::result(after) >= 0 || arch::result(after) < -4095))
    area = {static_cast<uint64_t>(arch::result(after))};  // fresh: there is no session in it
  calling = false;
  return {};
}

Result<> Parasite::Impl::call(const arch::Registers& registers) {
  TRY(set_registers(leader, registers));
  calling = true;
  TRY(run_one_call(leader));
  calling = false;
  return {};
}

// From the close on the springboard's own code is on its way to the munmap, and then home.
Result<> Parasite::Impl::close_in_target(int descriptor) {
  arch::Registers registers = own;
  arch::set_ip(registers, board.close_call);
  arch::set_syscall(registers, arch::kClose, {as_arguments(descriptor)});
  arch::set_kept(registers, area.value);
  return call(registers);
}

Result<> Parasite::Impl::unmap_area() {
  if (both_ends) {
    TRY(close_in_target(descriptors[1]));
    both_ends = false;
  }
  if (!descriptors.empty()) {
    TRY(close_in_target(descriptors[0]));
    descriptors.clear();
  }
  arch::Registers registers = own;
  arch::set_ip(registers, board.unmap_call);
  arch::set_syscall(registers, arch::kMunmap, {area.value, area_size});
  TRY(call(registers));
  const arch::Registers after = TRY(get_registers(leader));
  if (arch::result(after) != 0)
    return Error::system(static_cast<int>(-arch::result(after)),
                         strf("task %d: unmap the parasite", pid));
  area = {};
  socket.close();
  return {};
}

Parasite::Parasite(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Parasite::Parasite(Parasite&&) noexcept = default;

Parasite::~Parasite() {
  if (impl_ != nullptr) (void)insist([this] { return impl_->leave(); });
}

Result<Parasite> Parasite::infect(SeizedThread& leader, const Fd& pidfd, KnownVdso vdso) {
  auto impl = std::make_unique<Impl>(leader);
  impl->vdso = vdso;
  Result<> entered = impl->enter(pidfd);
  if (entered.ok()) return Parasite(std::move(impl));
  const pid_t pid = impl->pid;
  (void)insist([&] { return impl->leave(); });
  return explain(entered.take_error(), pid).while_doing(strf("infect task %d", pid));
}

Result<> Parasite::run(Batch& batch) {
  for (size_t datagram = 0; datagram < batch.datagrams(); datagram++) {
    Result<> ran = impl_->run_datagram(batch, datagram);
    if (!ran.ok()) return explain(ran.take_error(), impl_->pid);
  }
  return {};
}

Result<> Parasite::run_in_thread(SeizedThread& thread, Batch& batch) {
  if (batch.datagrams() == 0) return {};
  const uint32_t number = TRY(inner_tid(impl_->pid, thread.tid()));
  for (size_t datagram = 0; datagram < batch.datagrams(); datagram++) {
    Result<> ran = impl_->run_datagram_in_thread(thread, number, batch, datagram);
    if (!ran.ok()) return explain(ran.take_error(), thread.tid());
  }
  return {};
}

const std::vector<int>& Parasite::own_descriptors() const { return impl_->descriptors; }
RemoteAddress Parasite::area() const { return impl_->area; }
uint64_t Parasite::area_size() const { return impl_->area_size; }

Result<> Parasite::cure() {
  Result<> left = impl_->leave();
  if (!left.ok())
    return explain(left.take_error(), impl_->pid).while_doing(strf("cure task %d", impl_->pid));
  impl_.reset();
  return {};
}

}  // namespace ncr
