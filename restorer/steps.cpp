// restorer: hands each step of a list to its room.
#include <asm-generic/errno-base.h>
#include <asm-generic/errno.h>

#include "pie/steps.h"
#include "restorer/session.h"
#include "restorer/steps.h"

#define STEP(room, Struct)     \
  namespace ncr::room {        \
  pie::Ret run(const Struct&); \
  }
#include "pie/steps.inc"
#undef STEP

namespace restorer {
namespace {

template <class Step>
pie::Ret run_sized(const wire::StepHeader& header, const void* payload) {
  if (header.size < sizeof(Step)) return pie::Ret(-EINVAL);
  return run(*static_cast<const Step*>(payload));
}

pie::Ret run_step(const wire::StepHeader& header, const void* payload) {
  switch (header.id) {
#define STEP(room, Struct)     \
  case ncr::room::Struct::kId: \
    return run_sized<ncr::room::Struct>(header, payload);
#include "pie/steps.inc"
#undef STEP
    default:
      return pie::Ret(-ENOSYS);
  }
}

}  // namespace

void run_steps(const Session& session, const wire::StepBytes& steps) {
  uint64_t at = steps.address;
  const uint64_t end = steps.address + steps.size;
  while (at < end) {
    const auto& header = *reinterpret_cast<const wire::StepHeader*>(at);
    at += sizeof header;
    pie::Ret ret = run_step(header, reinterpret_cast<const void*>(at));
    if (!ret.ok()) fail(session, header.id, ret.err(), 0);
    at += wire::padded(header.size);
  }
}

}  // namespace restorer
