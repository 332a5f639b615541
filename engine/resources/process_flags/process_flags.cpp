// What a process has set about itself as a whole: umask (fs_struct), personality (task_struct, but
// the same in all threads), whether orphans below it become its children, how the OOM killer rates
// it (signal_struct), which mappings a core dump holds, whether it may be dumped and traced, and
// whether its pages are merged or huge (mm_struct). THP and MDWE are set again with the memory.
//
// Lowering oom_score_adj below what the process has needs CAP_SYS_RESOURCE; raising it never does.
#include "engine/resources/process_flags/process_flags.h"

#include <fcntl.h>

#include <cstdlib>

#include "engine/base/procfs.h"
#include "engine/resources/room.h"

namespace ncr::process_flags {
namespace {

void read_ahead(const Task& task) {
  (void)task.status(task.pid);
  (void)task.proc_text("oom_score_adj");
  (void)task.proc_text("coredump_filter");
}

Result<> look(const Task& task, schema::Task* record) {
  const ThreadStatus* status = TRY(task.status(task.pid));
  const std::string* oom_score = TRY(task.proc_text("oom_score_adj"));
  const std::string* filter = TRY(task.proc_text("coredump_filter"));
  schema::ProcessFlags* out = record->mutable_flags();
  out->set_umask(status->status.umask);
  out->set_oom_score_adj(static_cast<int32_t>(strtol(oom_score->c_str(), nullptr, 10)));
  out->set_coredump_filter(static_cast<uint32_t>(strtoul(filter->c_str(), nullptr, 16)));
  return {};
}

void ask(const Task&, const schema::Task&, Batch& batch) { batch.ask<Get>({}); }

Result<> read(const Task&, const Batch& batch, schema::Task* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "prctl in the target");
  schema::ProcessFlags* out = record->mutable_flags();
  out->set_personality(reply->personality);
  out->set_child_subreaper(reply->child_subreaper != 0);
  out->set_memory_merge(reply->memory_merge != 0);
  schema::Memory* memory = record->mutable_memory();
  memory->set_dumpable(reply->dumpable);
  memory->set_thp_disabled(reply->thp_disabled != 0);
  memory->set_mdwe(reply->mdwe);
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  const schema::ProcessFlags& wanted = record.flags();
  steps.add(wire::Stage::kLate, Set{wanted.child_subreaper() ? 1u : 0u, wanted.umask(),
                                    wanted.memory_merge() ? 1u : 0u, 0});
  // After every thread's credentials, for each change of them resets it. 2 is only ever the
  // kernel's own doing.
  steps.add(wire::Stage::kCredentials, SetDumpable{record.memory().dumpable() == 1 ? 1u : 0u});
  return {};
}

Result<> plan_thread(const schema::Task& record, const schema::Thread&, StepList& steps) {
  steps.add(wire::Stage::kLate, SetPersonality{record.flags().personality()});
  return {};
}

Result<> write_own(const char* name, const std::string& text) {
  Fd file = TRY(procfs::open(strf("self/%s", name), O_WRONLY));
  return sys::write_all(file, text.data(), text.size());
}

Result<> restore_oom_score(const ChildTask& child) {
  int32_t wanted = child.record.flags().oom_score_adj();
  std::string text = TRY(procfs::read_file("self/oom_score_adj"));
  auto current = static_cast<int32_t>(strtol(text.c_str(), nullptr, 10));
  if (current == wanted) return {};
  TRY_WHILE(write_own("oom_score_adj", std::to_string(wanted)),
            "change oom_score_adj of task %d from %d to %d (lowering it needs CAP_SYS_RESOURCE)",
            child.record.pid(), current, wanted);
  return {};
}

Result<> restore_coredump_filter(const ChildTask& child) {
  uint32_t wanted = child.record.flags().coredump_filter();
  std::string text = TRY(procfs::read_file("self/coredump_filter"));
  if (strtoul(text.c_str(), nullptr, 16) == wanted) return {};
  return write_own("coredump_filter", strf("0x%x", wanted));
}

Result<> restore(const ChildTask& child) {
  TRY(restore_oom_score(child));
  return restore_coredump_filter(child);
}

}  // namespace

extern const TaskRoom kRoom = {.name = "process_flags",
                               .read_ahead = read_ahead,
                               .look = look,
                               .ask = ask,
                               .read = read,
                               .plan = plan,
                               .plan_thread = plan_thread,
                               .restore = restore};

}  // namespace ncr::process_flags
