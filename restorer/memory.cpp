// restorer: the engine goes, the task's own memory comes to its place. From the first munmap on
// there is no libc, no thread-local storage and no vDSO; only the area (our text, stacks and
// arguments), the staged VMAs and the kernel's special mappings are there.
#include <asm-generic/errno-base.h>
#include <linux/mman.h>
#include <linux/prctl.h>

#include "restorer/session.h"

namespace restorer {
namespace {

using wire::Act;

void move_all(const Session& session, Act act, const wire::Array<wire::Move>& moves) {
  for (const wire::Move& move : moves) {
    pie::Ret ret = pie::sys(__NR_mremap, move.from, move.size, move.size,
                            MREMAP_MAYMOVE | MREMAP_FIXED, move.to);
    if (!ret.ok()) fail(session, act, ret.err(), move.to);
  }
}

// PR_SET_MM_MAP asks for no capability except for the executable, where CAP_CHECKPOINT_RESTORE will
// do (kernel/sys.c, prctl_set_mm_map).
void set_mm_fields(const Session& session) {
  const wire::MmMap& mm = session.args->mm;
  pie::Ret ret = pie::sys(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, &mm, sizeof mm, 0);
  if (!ret.ok()) fail(session, Act::kMmMap, ret.err(), mm.exe_fd);
  if (mm.exe_fd == ~0u) return;
  ret = pie::sys(__NR_close, mm.exe_fd);
  if (!ret.ok()) fail(session, Act::kExeFd, ret.err(), mm.exe_fd);
}

// Locked memory could not have been moved without being charged twice, so locks come after the
// moves.
void lock_memory(const Session& session) {
  for (const wire::Lock& lock : session.args->locks) {
    pie::Ret ret = lock.flags == 0 ? pie::sys(__NR_mlock, lock.start, lock.size)
                                   : pie::sys(__NR_mlock2, lock.start, lock.size, lock.flags);
    if (!ret.ok() && !(lock.inaccessible != 0 && ret.err() == ENOMEM))
      fail(session, Act::kLock, ret.err(), lock.start);
  }
  if (session.args->lock_future == 0) return;
  pie::Ret ret = pie::sys(__NR_mlockall, session.args->lock_future);
  if (!ret.ok()) fail(session, Act::kLock, ret.err(), session.args->lock_future);
}

}  // namespace

void move_memory(const Session& session) {
  const wire::RestorerArgs& args = *session.args;
  for (const wire::AddressRange& range : args.unmap) {
    pie::Ret ret = pie::sys(__NR_munmap, range.start, range.end - range.start);
    if (!ret.ok()) fail(session, Act::kUnmap, ret.err(), range.start);
  }
  // A final address may be where the kernel put the vDSO of this process, so it steps aside first.
  move_all(session, Act::kParkVdso, args.park_special);
  move_all(session, Act::kMove, args.moves);
  move_all(session, Act::kPlaceVdso, args.place_special);
  set_mm_fields(session);
  lock_memory(session);
}

}  // namespace restorer
