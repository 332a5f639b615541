// parasite: the command loop that runs in a frozen task.
//
// The leader makes the control socket, of which the engine takes one end, and answers batches until
// that end is gone: after the engine's death, however it died. Then it waits for a thread that is
// still in the blob, and returns to its entry, which jumps to the springboard. Any other thread
// answers the one batch that lies in its request buffer and waits for the same end of file, or to
// be interrupted and given its registers back. No call here may use the kernel's restart block (a
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

constexpr int kUnixFamily = 1;
constexpr int kSeqpacketCloexec = 5 | 02000000;
constexpr int kPeek = 2;
constexpr int kNoSignal = 0x4000;
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
    if (wire::kMaxDatagram - out < sizeof(wire::ItemHeader)) break;
    const auto& header = *reinterpret_cast<const wire::ItemHeader*>(buffers.request + in);
    in += sizeof(wire::ItemHeader);
    if (header.size > buffers.request_size - in ||
        wire::padded(header.size) > buffers.request_size - in)
      break;
    auto& back = *reinterpret_cast<wire::ItemHeader*>(buffers.reply + out);
    out += sizeof(wire::ItemHeader);
    Item item = {buffers.request + in, header.size, buffers.reply + out, wire::kMaxDatagram - out,
                 0};
    const pie::Ret ret = dispatch(header.id, item);
    back = {header.id, ret.ok() ? 0 : -ret.err(), ret.ok() ? item.reply_size : 0, 0};
    in += wire::padded(header.size);
    out += wire::padded(back.size);
    answered.count++;
  }
  return out;
}

void send(const Session& session, size_t size) {
  const pie::Ret sent =
      pie::sys(__NR_sendto, session.sockets[0], session.reply, size, kNoSignal, 0, 0);
  if (sent.ok()) return;
  const wire::BatchHeader nothing = {wire::kVersion, 0};
  (void)pie::sys(__NR_sendto, session.sockets[0], &nothing, sizeof nothing, kNoSignal, 0, 0);
}

Buffers buffers_of(const Session& session, size_t request_size) {
  return {reinterpret_cast<unsigned char*>(session.request), request_size,
          reinterpret_cast<unsigned char*>(session.reply)};
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

void run_leader(Session& session) {
  // The engine looks at both numbers when this call returns, and has its own copy of the second
  // before we go on.
  if (!pie::sys(__NR_socketpair, kUnixFamily, kSeqpacketCloexec, 0, session.sockets).ok()) return;
  (void)pie::sys(__NR_close, session.sockets[1]);
  for (;;) {
    const pie::Ret got =
        pie::sys(__NR_recvfrom, session.sockets[0], session.request, wire::kMaxDatagram, 0, 0, 0);
    if (got.err() == kInterrupted) continue;
    if (got.raw() <= 0) break;
    send(session, answer(buffers_of(session, static_cast<size_t>(got.raw()))));
  }
  wait_for_thread(session);
  (void)pie::sys(__NR_close, session.sockets[0]);
}

void run_thread(const Session& session) {
  send(session, answer(buffers_of(session, session.request_size)));
  for (;;) {
    unsigned char byte;
    const pie::Ret got =
        pie::sys(__NR_recvfrom, session.sockets[0], &byte, sizeof byte, kPeek, 0, 0);
    if (got.raw() <= 0 && got.err() != kInterrupted) return;
  }
}

}  // namespace
}  // namespace parasite

extern "C" void parasite_main(parasite::Session* session) {
  if (session->role == parasite::Role::kLeader)
    parasite::run_leader(*session);
  else
    parasite::run_thread(*session);
}
