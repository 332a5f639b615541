// Resource limits (signal_struct.rlim). Asked inside the target: prlimit(2) on a process of another
// user needs CAP_SYS_RESOURCE, which engines in containers have not. Set in a late stage, so that
// no limit of the target stands in the way of restoring it, and before credentials, which may take
// away the right to raise one.
#include "engine/resources/rlimit/rlimit.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "engine/resources/credentials/own_capabilities.h"
#include "engine/resources/room.h"

namespace ncr::rlimit {
namespace {

constexpr const char* kNames[kResources] = {
    "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
    "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

void ask(const Task&, const schema::Task&, Batch& batch) { batch.ask<Get>({}); }

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "getrlimit in the target");
  for (uint32_t resource = 0; resource < kResources; resource++) {
    schema::Rlimit* out = record->add_rlimits();
    out->set_resource(resource);
    out->set_soft(reply->limits[resource].soft);
    out->set_hard(reply->limits[resource].hard);
  }
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  Set step{};
  for (const schema::Rlimit& limit : record.rlimits()) {
    if (limit.resource() >= kResources)
      return Error::malformed(
          strf("resource limit %u of task %d does not exist", limit.resource(), record.pid()));
    step.wanted |= 1ull << limit.resource();
    step.limits[limit.resource()] = {limit.soft(), limit.hard()};
  }
  if (step.wanted != 0) steps.add(wire::Stage::kLate, step);
  return {};
}

// A hard limit above ours that we may not raise: said here, where it can be said in words.
Result<> restore(const ChildTask& child) {
  for (const schema::Rlimit& wanted : child.record.rlimits()) {
    struct rlimit ours {};
    TRY(SYSCALL(::prlimit(0, static_cast<__rlimit_resource>(wanted.resource()), nullptr, &ours),
                "getrlimit"));
    if (wanted.hard() <= ours.rlim_max) continue;
    uint64_t capabilities = TRY(credentials::own_effective_capabilities());
    if ((capabilities >> CAP_SYS_RESOURCE & 1) != 0) continue;
    return Error::unsupported(
        strf("task %d had a hard limit RLIMIT_%s of %llu, above the %llu that this process may set "
             "without CAP_SYS_RESOURCE; raise the limit of the "
             "process that restores",
             child.record.pid(), kNames[wanted.resource()],
             static_cast<unsigned long long>(wanted.hard()),
             static_cast<unsigned long long>(ours.rlim_max)));
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "rlimit", .ask = ask, .read = read, .plan = plan, .restore = restore};

}  // namespace ncr::rlimit
