// parasite: answers batches in a frozen task.
//
// After each answer the thread sends itself a signal that means nothing to it. Traced, it stops
// there, and the engine takes the answer and asks more or sends it home. If the engine is dead
// nothing happens, however it died: the thread finds that nothing is asked and goes home by itself,
// the leader after a thread that is still in the blob. It returns to its entry, which jumps to the
// springboard. It never waits for the engine. No call here may use the kernel's restart block (a
// sleep, a poll or a futex with a timeout): it belongs to the call that the freeze interrupted.
#include "parasite/commands.h"

#include "parasite/session.h"
#include "pie/memory.h"
#include "pie/syscall.h"
#include "pie/wire.h"

#define COMMAND(room, Struct)                              \
  namespace ncr::room {                                    \
  pie::Ret handle(const Struct::Request&, Struct::Reply&); \
  }
#include "pie/commands.inc"
#undef COMMAND

namespace parasite {
namespace {

constexpr uint64_t kIgnore = 1;  // SIG_IGN
constexpr size_t kSignalSetSize = 8;
constexpr int kInterrupted = 4;
constexpr int kTryAgain = 11;
constexpr int kNoSuchCommand = 38;
constexpr int kTooLong = 90;
constexpr int kMalformed = 22;
constexpr int kLockPiPrivate = 6 | 128;
constexpr int kUnlockPiPrivate = 7 | 128;

struct Item {
  const void* request;
  uint32_t request_size;
  void* reply;
  size_t room;          // bytes left for the reply
  uint32_t reply_size;  // set by the command
};

// The handler of a command is found by the namespace of its Request.
template <class Command>
pie::Ret run(Item& item) {
  static_assert(alignof(typename Command::Request) <= 8 && alignof(typename Command::Reply) <= 8);
  using Reply = typename Command::Reply;
  if (item.request_size != sizeof(typename Command::Request)) return pie::Ret(-kMalformed);
  if (item.room < wire::padded(sizeof(Reply))) return pie::Ret(-kTooLong);
  memset(item.reply, 0, wire::padded(sizeof(Reply)));
  item.reply_size = sizeof(Reply);
  return handle(*static_cast<const typename Command::Request*>(item.request),
                *static_cast<Reply*>(item.reply));
}

pie::Ret dispatch(uint32_t id, [[maybe_unused]] Item& item) {
  switch (id) {
#define COMMAND(room, Struct)  \
  case ncr::room::Struct::kId: \
    return run<ncr::room::Struct>(item);
#include "pie/commands.inc"
#undef COMMAND
    default:
      return pie::Ret(-kNoSuchCommand);
  }
}

struct Buffers {
  unsigned char* request;
  size_t request_size;
  unsigned char* reply;
};

// One batch: every item is run, whatever became of those before it. Returns the size of the answer.
size_t answer(const Buffers& buffers) {
  const auto& asked = *reinterpret_cast<const wire::BatchHeader*>(buffers.request);
  auto& answered = *reinterpret_cast<wire::BatchHeader*>(buffers.reply);
  answered = {wire::kVersion, 0};
  size_t in = sizeof(wire::BatchHeader);
  size_t out = sizeof(wire::BatchHeader);
  if (buffers.request_size < in || asked.version != wire::kVersion) return out;
  for (uint32_t left = asked.count; left > 0; left--) {
    if (buffers.request_size - in < sizeof(wire::ItemHeader)) break;
    if (wire::kMaxMessage - out < sizeof(wire::ItemHeader)) break;
    const auto& header = *reinterpret_cast<const wire::ItemHeader*>(buffers.request + in);
    in += sizeof(wire::ItemHeader);
    if (header.size > buffers.request_size - in ||
        wire::padded(header.size) > buffers.request_size - in)
      break;
    auto& back = *reinterpret_cast<wire::ItemHeader*>(buffers.reply + out);
    out += sizeof(wire::ItemHeader);
    Item item = {buffers.request + in, header.size, buffers.reply + out, wire::kMaxMessage - out,
                 0};
    const pie::Ret ret = dispatch(header.id, item);
    back = {header.id, ret.ok() ? 0 : -ret.err(), ret.ok() ? item.reply_size : 0, 0};
    in += wire::padded(header.size);
    out += wire::padded(back.size);
    answered.count++;
  }
  return out;
}

void serve(Session& session) {
  const Buffers buffers = {reinterpret_cast<unsigned char*>(session.request),
                           static_cast<size_t>(session.request_size),
                           reinterpret_cast<unsigned char*>(session.reply)};
  session.reply_size = static_cast<uint32_t>(answer(buffers));
  session.request_size = 0;
}

void stop(const Session& session) {
  const long process = pie::sys(__NR_getpid).raw();
  const long thread = pie::sys(__NR_gettid).raw();
  (void)pie::sys(__NR_tgkill, process, thread, session.stop_signal);
}

// What is to be put back is known before anything changes: the thread may be stopped in between.
void borrow_signal(Session& session) {
  if (session.borrow == 0) return;
  const KernelSigaction ignore = {kIgnore, 0, 0, 0};
  const int signal = session.stop_signal;
  if (!pie::sys(__NR_rt_sigaction, signal, nullptr, &session.its_own, kSignalSetSize).ok()) return;
  const_cast<volatile uint32_t&>(session.borrowed) = 1;
  (void)pie::sys(__NR_rt_sigaction, signal, &ignore, nullptr, kSignalSetSize);
}

void give_signal_back(Session& session) {
  if (session.borrowed == 0) return;
  (void)pie::sys(__NR_rt_sigaction, session.stop_signal, &session.its_own, nullptr, kSignalSetSize);
  session.borrowed = 0;
}

// The kernel knows who holds the lock, so a thread that died meanwhile is not waited for.
void wait_for_thread(Session& session) {
  volatile uint32_t& inside = session.inside;
  while (inside != 0) {
    const pie::Ret locked = pie::sys(__NR_futex, &session.inside, kLockPiPrivate, 0, nullptr);
    if (locked.err() == kInterrupted || locked.err() == kTryAgain) continue;
    if (locked.ok()) (void)pie::sys(__NR_futex, &session.inside, kUnlockPiPrivate);
    return;
  }
}

// A thread that is inside stops itself by the same signal: it is waited for first.
void run_leader(Session& session) {
  while (session.request_size != 0) {
    serve(session);
    borrow_signal(session);
    stop(session);
    if (session.request_size == 0) wait_for_thread(session);
    give_signal_back(session);
  }
}

void run_thread(Session& session) {
  serve(session);
  stop(session);
}

}  // namespace
}  // namespace parasite

extern "C" void parasite_main(parasite::Session* session) {
  if (session->role == parasite::Role::kLeader)
    parasite::run_leader(*session);
  else
    parasite::run_thread(*session);
}
