// restorer: from the engine's credentials to the thread's, in the order that the kernel's rules
// leave open. Each thing is compared first and left alone if it is right, so that restoring under
// the same user needs no privilege at all.
//
//   bounding set       needs CAP_SETPCAP, so first
//   NO_SETUID_FIXUP    keeps all capabilities over the change of ids
//   groups, gids, uids
//   inheritable        with everything still permitted, so that ambient ones may be raised
//   ambient            before the securebits, which may forbid it
//   securebits         needs CAP_SETPCAP
//   capabilities       the end of all rights
//   no_new_privs
//
// Who goes into a user namespace (setns(2)) takes its ids along, whether they are mapped there or
// not; all else of the above begins anew there.
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/securebits.h>

#include "engine/resources/credentials/credentials.h"
#include "pie/memory.h"
#include "pie/syscall.h"

namespace ncr::credentials {
namespace {

constexpr int kLastCapability = 63;

pie::Ret prctl(long option, unsigned long a = 0, unsigned long b = 0) {
  return pie::sys(__NR_prctl, option, a, b, 0, 0);
}

pie::Ret drop_bounding(uint64_t wanted) {
  for (unsigned long capability = 0; capability <= kLastCapability; capability++) {
    if ((wanted >> capability & 1) != 0) continue;
    pie::Ret have = prctl(PR_CAPBSET_READ, capability);
    if (!have.ok()) break;  // the kernel knows no more of them
    if (have.raw() == 0) continue;
    pie::Ret ret = prctl(PR_CAPBSET_DROP, capability);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

bool groups_are(const uint32_t* wanted, uint32_t count) {
  constexpr uint32_t kCompared = 256;
  uint32_t current[kCompared];
  pie::Ret got = pie::sys(__NR_getgroups, kCompared, current);
  return got.ok() && static_cast<uint32_t>(got.raw()) == count &&
         memcmp(current, wanted, count * sizeof *wanted) == 0;
}

bool ids_are(const uint32_t* wanted, long get, long set_fs) {
  uint32_t real = 0;
  uint32_t effective = 0;
  uint32_t saved = 0;
  (void)pie::sys(get, &real, &effective, &saved);
  long fs = pie::sys(set_fs, -1).raw();  // an impossible id: only tells the present one
  return real == wanted[0] && effective == wanted[1] && saved == wanted[2] &&
         fs == static_cast<long>(wanted[3]);
}

pie::Ret set_ids(const uint32_t* wanted, long set, long set_fs) {
  pie::Ret ret = pie::sys(set, wanted[0], wanted[1], wanted[2]);
  if (!ret.ok()) return ret;
  (void)pie::sys(set_fs, wanted[3]);
  return static_cast<uint32_t>(pie::sys(set_fs, -1).raw()) == wanted[3] ? pie::Ret::success()
                                                                        : pie::Ret(-1 /* EPERM */);
}

template <class Step>
pie::Ret change_ids(const Step& step) {
  const auto* groups = reinterpret_cast<const uint32_t*>(&step + 1);
  bool same_groups = groups_are(groups, step.group_count);
  bool same_gids = ids_are(step.gids, __NR_getresgid, __NR_setfsgid);
  bool same_uids = ids_are(step.uids, __NR_getresuid, __NR_setfsuid);
  if (same_groups && same_gids && same_uids) return pie::Ret::success();
  pie::Ret ret = prctl(PR_GET_SECUREBITS);
  if (ret.ok())
    ret = prctl(PR_SET_SECUREBITS, static_cast<unsigned long>(ret.raw()) | SECBIT_NO_SETUID_FIXUP);
  if (ret.ok() && !same_groups) ret = pie::sys(__NR_setgroups, step.group_count, groups);
  if (ret.ok() && !same_gids) ret = set_ids(step.gids, __NR_setresgid, __NR_setfsgid);
  if (ret.ok() && !same_uids) ret = set_ids(step.uids, __NR_setresuid, __NR_setfsuid);
  return ret;
}

struct Capabilities {
  uint64_t effective;
  uint64_t permitted;
  uint64_t inheritable;
};

pie::Ret get_capabilities(Capabilities* out) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  pie::Ret ret = pie::sys(__NR_capget, &header, data);
  out->effective = uint64_t{data[1].effective} << 32 | data[0].effective;
  out->permitted = uint64_t{data[1].permitted} << 32 | data[0].permitted;
  out->inheritable = uint64_t{data[1].inheritable} << 32 | data[0].inheritable;
  return ret;
}

pie::Ret set_capabilities(const Capabilities& wanted) {
  Capabilities current{};
  pie::Ret ret = get_capabilities(&current);
  if (!ret.ok() || memcmp(&current, &wanted, sizeof wanted) == 0) return ret;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; half++) {
    data[half].effective = static_cast<uint32_t>(wanted.effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(wanted.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(wanted.inheritable >> (32 * half));
  }
  return pie::sys(__NR_capset, &header, data);
}

pie::Ret set_ambient(uint64_t wanted) {
  for (unsigned long capability = 0; capability <= kLastCapability; capability++) {
    pie::Ret have = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability);
    if (!have.ok()) break;
    bool want = (wanted >> capability & 1) != 0;
    if ((have.raw() != 0) == want) continue;
    pie::Ret ret =
        prctl(PR_CAP_AMBIENT, want ? PR_CAP_AMBIENT_RAISE : PR_CAP_AMBIENT_LOWER, capability);
    if (!ret.ok()) return ret;
  }
  return pie::Ret::success();
}

pie::Ret change_capabilities(const Set& step) {
  Capabilities current{};
  pie::Ret ret = get_capabilities(&current);
  if (ret.ok()) ret = set_capabilities({current.effective, current.permitted, step.inheritable});
  // An ambient capability is always an inheritable one.
  if (ret.ok() && step.inheritable != 0) ret = set_ambient(step.ambient);
  if (!ret.ok()) return ret;
  ret = prctl(PR_GET_SECUREBITS);
  if (ret.ok() && static_cast<uint32_t>(ret.raw()) != step.securebits)
    ret = prctl(PR_SET_SECUREBITS, step.securebits);
  if (!ret.ok()) return ret;
  return set_capabilities({step.effective, step.permitted, step.inheritable});
}

}  // namespace

pie::Ret run(const EnterUserNamespace& step) {
  pie::Ret ret = change_ids(step);
  if (ret.ok()) ret = pie::sys(__NR_setns, step.fd, CLONE_NEWUSER);
  return ret.ok() ? pie::sys(__NR_close, step.fd) : ret;
}

pie::Ret run(const Set& step) {
  pie::Ret ret = drop_bounding(step.bounding);
  if (ret.ok()) ret = change_ids(step);
  if (ret.ok()) ret = change_capabilities(step);
  if (!ret.ok() || step.no_new_privs == 0) return ret;
  return prctl(PR_SET_NO_NEW_PRIVS, 1);
}

}  // namespace ncr::credentials
