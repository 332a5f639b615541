// The parasite's way in and out of a task, as docs/adr/0001 tells it. Runs in the engine, which may
// be killed between any two of these calls: whatever the thread's registers are then is what it
// runs on with, so a change of registers always comes after all that the new ones rely on, and
// anything they stand for is undone before they change.
//
// In the target: the springboard (bytes in the vDSO's padding, one page copied on write) and the
// area (one private mapping: blob, stacks, buffers). All signals but the one by which it stops
// itself are blocked while the blob runs; those that arrive stay pending. The kernel's restart
// block stays the interrupted call's own.
#include "engine/tracee/parasite.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
#include <optional>

#include "arch/arch.h"
#include "engine/base/proc.h"
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

constexpr size_t kThreadSlot = arch::kLeaderBoardRoom;
constexpr size_t kSpringboardSize = kThreadSlot + arch::kThreadBoardRoom;

size_t blob_size() { return static_cast<size_t>(parasite_blob_end - parasite_blob_start); }

uint64_t as_arguments(int number) { return static_cast<uint64_t>(static_cast<int64_t>(number)); }

RemoteAddress session_of(RemoteAddress block) { return block + offsetof(parasite::Block, session); }

RemoteAddress reply_of(RemoteAddress block) { return block + offsetof(parasite::Block, reply); }

uint64_t stack_of(RemoteAddress block) { return block.value + sizeof(parasite::Block::stack); }

// The size stands right before the request itself.
RemoteAddress request_of(RemoteAddress block) {
  return session_of(block) + offsetof(parasite::Session, request_size);
}

std::string sized(std::string_view request) {
  const uint64_t size = request.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  return bytes.append(request);
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

Result<StopSignal> find_stop_signal(pid_t pid) {
  const Fd proc = TRY(sys::open(strf("/proc/%d", pid).c_str(), O_PATH | O_DIRECTORY));
  SignalUse use;
  for (pid_t tid : TRY(sys::numbered_entries(proc, "task"))) {
    const std::string text = TRY(sys::read_file(strf("/proc/%d/task/%d/status", pid, tid).c_str()));
    use.add(TRY(proc::parse_status(text)));
  }
  return choose_stop_signal(use);
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
  StopSignal signal;
  std::optional<RemotePatch> patch;
  RemoteAddress place;  // of the springboard, 0 if none is there
  arch::LeaderBoard board{};
  bool moved = false;  // registers or mask are not the leader's own
  bool loose = false;  // it was let run, and has not been seen to stop
  RemoteAddress area;
  uint64_t area_size = page_ceil(blob_size()) + 2 * sizeof(parasite::Block);
  bool in_blob = false;        // from then on it stands at a stop of its own, or runs to one
  bool thread_inside = false;  // one could not be given back

  RemoteAddress leader_block() const { return area + page_ceil(blob_size()); }
  RemoteAddress thread_block() const { return leader_block() + sizeof(parasite::Block); }
  RemoteAddress lock() const {
    return session_of(leader_block()) + offsetof(parasite::Session, inside);
  }
  uint64_t mask_in_blob() const { return ~(uint64_t{1} << (signal.number - 1)); }

  Result<> enter();
  Result<> lay_springboard();
  Result<> map_area();
  parasite::Session make_session(RemoteAddress block, uint64_t leave, uint64_t flags) const;

  Result<> start_blob(std::string_view request);
  Result<> run_message(Batch& batch, size_t message);
  Result<> answer_in(const SeizedThread& thread, RemoteAddress block, Batch& batch, size_t message);
  Result<> run_message_in_thread(SeizedThread& thread, uint32_t number, Batch& batch,
                                 size_t message);

  Result<> leave();
  Result<> catch_leader();
  Result<> call(const arch::Registers& registers);
  Result<> give_signal_back();
  Result<> unmap_area();
};

Result<> Parasite::Impl::enter() {
  if (signal.number == 0) signal = TRY(find_stop_signal(pid));
  if (signal.number == 0)
    return Error::system(EBUSY,
                         strf("task %d: all signals that it could be stopped by are pending", pid));
  TRY(lay_springboard());
  return map_area();
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
  TRY(leader.set_signal_mask(mask_in_blob()));
  loose = true;
  TRY(run_one_call(leader));
  const arch::Registers after = TRY(get_registers(leader));
  loose = false;
  const int64_t mapped = arch::result(after);
  if (mapped < 0 && mapped >= -4095)
    return Error::system(static_cast<int>(-mapped),
                         strf("task %d: it cannot map %llu KiB of executable memory", pid,
                              static_cast<unsigned long long>(area_size / 1024)));
  area = {static_cast<uint64_t>(mapped)};
  return {};
}

parasite::Session Parasite::Impl::make_session(RemoteAddress block, uint64_t leave,
                                               uint64_t flags) const {
  parasite::Session session{};
  session.area = area.value;
  session.leave = leave;
  session.flags = flags;
  session.request = block.value + offsetof(parasite::Block, request);
  session.reply = reply_of(block).value;
  session.stop_signal = signal.number;
  session.borrow = signal.borrow ? 1 : 0;
  return session;
}

Result<> Parasite::Impl::start_blob(std::string_view request) {
  parasite::Session session = make_session(leader_block(), board.leave, arch::flags(own));
  session.role = parasite::Role::kLeader;
  session.request_size = request.size();
  std::string bytes(reinterpret_cast<const char*>(&session), sizeof session);
  bytes.append(request);
  TRY(write_remote(pid, {{area, parasite_blob_start, blob_size()},
                         {session_of(leader_block()), bytes.data(), bytes.size()}}));
  in_blob = true;
  return set_registers(leader, arch::enter_blob(own, area.value, stack_of(leader_block()),
                                                session_of(leader_block()).value));
}

Result<> Parasite::Impl::run_message(Batch& batch, size_t message) {
  if (!in_blob) {
    TRY(start_blob(batch.encoded(message)));
  } else {
    const std::string request = sized(batch.encoded(message));
    TRY(write_remote(pid, request_of(leader_block()), request.data(), request.size()));
  }
  loose = true;
  TRY(answer_in(leader, leader_block(), batch, message));
  loose = false;
  return {};
}

// A signal of this number that somebody else sends stops the thread before it has answered, and is
// dropped: it means nothing to the target.
Result<> Parasite::Impl::answer_in(const SeizedThread& thread, RemoteAddress block, Batch& batch,
                                   size_t message) {
  parasite::Session session{};
  std::string reply(batch.reply_size(message), 0);
  do {
    TRY(run_to_own_stop(thread, signal.number));
    TRY(read_remote(pid, {{session_of(block), &session, sizeof session},
                          {reply_of(block), reply.data(), reply.size()}}));
  } while (session.request_size != 0);
  if (session.reply_size > reply.size())
    return Error::malformed(strf("the parasite in thread %d answers too much", thread.tid()));
  return batch.decode(message, reply.data(), session.reply_size);
}

// The thread's registers stand at T before the lock names it, and until the lock is open again: T
// is the way that opens it.
Result<> Parasite::Impl::run_message_in_thread(SeizedThread& thread, uint32_t number, Batch& batch,
                                               size_t message) {
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

  parasite::Session session = make_session(thread_block(), out.leave, arch::flags(its_own));
  session.role = parasite::Role::kThread;
  session.request_size = batch.encoded(message).size();
  std::string bytes(reinterpret_cast<const char*>(&session), sizeof session);
  bytes.append(batch.encoded(message));
  TRY(write_remote(pid, session_of(thread_block()), bytes.data(), bytes.size()));

  arch::Registers leaving = arch::resume_registers(its_own, arch::ResumeIn::kSameTask);
  arch::set_ip(leaving, out.leave);
  bool runs = false;
  auto give_back = [&]() -> Result<> {
    const uint32_t nobody = 0;
    if (runs) TRY(thread.regain());
    runs = false;
    TRY(set_registers(thread, leaving));
    TRY(thread.set_signal_mask(its_mask));
    TRY(write_remote(pid, lock(), &nobody, sizeof nobody));
    return set_registers(thread, its_own);
  };
  auto visit = [&]() -> Result<> {
    TRY(set_registers(thread, leaving));
    TRY(write_remote(pid, lock(), &number, sizeof number));
    TRY(thread.set_signal_mask(mask_in_blob()));
    TRY(set_registers(thread, arch::enter_blob(its_own, area.value, stack_of(thread_block()),
                                               session_of(thread_block()).value)));
    runs = true;
    TRY(answer_in(thread, thread_block(), batch, message));
    runs = false;
    return {};
  };
  Result<> visited = visit();
  Result<> given_back = insist(give_back);
  if (!given_back.ok()) thread_inside = true;
  TRY(std::move(visited));
  return given_back;
}

// Back from wherever enter() has come to. May be called again after it failed half way.
Result<> Parasite::Impl::leave() {
  // Nothing is asked of the leader, so once it runs it waits for that thread and leaves by itself.
  if (thread_inside)
    return Error::system(EBUSY, strf("task %d: a thread is still in the parasite", pid));
  if (loose) TRY(catch_leader());
  if (in_blob) TRY(give_signal_back());
  in_blob = false;
  if (area.value != 0) TRY(unmap_area());
  if (moved) {
    TRY(leader.set_signal_mask(mask));
    // With the interrupted call, which the kernel restarts by itself.
    TRY(set_registers(leader, own));
    moved = false;
  }
  if (place.value != 0) {
    const char zeroes[kSpringboardSize] = {};
    TRY(patch->write(place, zeroes, sizeof zeroes));
    place = {};
  }
  return {};
}

// After a failure in the midst of a call or of an answer: stops it, and sees what it did. It is not
// let run from there.
Result<> Parasite::Impl::catch_leader() {
  TRY(leader.regain());
  const arch::Registers after = TRY(get_registers(leader));
  const bool mapped = area.value == 0 && arch::ip(after) == board.map_call + arch::kSyscallLength;
  if (mapped && (arch::result(after) >= 0 || arch::result(after) < -4095))
    area = {static_cast<uint64_t>(arch::result(after))};
  loose = false;
  return {};
}

Result<> Parasite::Impl::call(const arch::Registers& registers) {
  TRY(set_registers(leader, registers));
  loose = true;
  TRY(run_one_call(leader));
  loose = false;
  return {};
}

// The springboard's own code goes on to the munmap, and then home.
Result<> Parasite::Impl::give_signal_back() {
  if (!signal.borrow) return {};
  parasite::Session session{};
  TRY(read_remote(pid, session_of(leader_block()), &session, sizeof session));
  if (session.borrowed == 0) return {};
  const RemoteAddress its_own = session_of(leader_block()) + offsetof(parasite::Session, its_own);
  arch::Registers registers = own;
  arch::set_ip(registers, board.spare_call);
  arch::set_syscall(registers, arch::kSigaction,
                    {static_cast<uint64_t>(signal.number), its_own.value, 0, sizeof(uint64_t)});
  arch::set_kept(registers, area.value);
  return call(registers);
}

Result<> Parasite::Impl::unmap_area() {
  arch::Registers registers = own;
  arch::set_ip(registers, board.unmap_call);
  arch::set_syscall(registers, arch::kMunmap, {area.value, area_size});
  TRY(call(registers));
  const arch::Registers after = TRY(get_registers(leader));
  if (arch::result(after) != 0)
    return Error::system(static_cast<int>(-arch::result(after)),
                         strf("task %d: unmap the parasite", pid));
  area = {};
  return {};
}

Parasite::Parasite(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Parasite::Parasite(Parasite&&) noexcept = default;

Parasite::~Parasite() {
  if (impl_ != nullptr) (void)insist([this] { return impl_->leave(); });
}

Result<Parasite> Parasite::infect(SeizedThread& leader, const KnownOfTask& known) {
  auto impl = std::make_unique<Impl>(leader);
  impl->vdso = known.vdso;
  impl->signal = known.stop_signal;
  Result<> entered = impl->enter();
  if (entered.ok()) return Parasite(std::move(impl));
  const pid_t pid = impl->pid;
  (void)insist([&] { return impl->leave(); });
  return explain(entered.take_error(), pid).while_doing(strf("infect task %d", pid));
}

Result<> Parasite::run(Batch& batch) {
  for (size_t message = 0; message < batch.messages(); message++) {
    Result<> ran = impl_->run_message(batch, message);
    if (!ran.ok()) return explain(ran.take_error(), impl_->pid);
  }
  return {};
}

// From its stop after an answer the leader, if we die, waits for the thread before it unmaps.
Result<> Parasite::run_in_thread(SeizedThread& thread, Batch& batch) {
  if (batch.messages() == 0) return {};
  if (!impl_->in_blob) {
    Batch nothing;
    nothing.ask_nothing();
    TRY(run(nothing));
  }
  const uint32_t number = TRY(inner_tid(impl_->pid, thread.tid()));
  for (size_t message = 0; message < batch.messages(); message++) {
    Result<> ran = impl_->run_message_in_thread(thread, number, batch, message);
    if (!ran.ok()) return explain(ran.take_error(), thread.tid());
  }
  return {};
}

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
