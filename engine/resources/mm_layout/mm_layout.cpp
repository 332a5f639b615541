// The fields of mm_struct that are not mappings: where code, data, heap, stack, arguments and
// environment begin and end, the auxiliary vector, the program break, and whether future mappings
// are locked. /proc/PID/stat and /proc/PID/auxv show most; the break only brk(2) inside tells; the
// last (mm_struct.def_flags) nobody tells, so a mapping is made to see. The restorer sets them with
// PR_SET_MM_MAP once the mappings are in their places.
#include "engine/resources/mm_layout/mm_layout.h"

#include <elf.h>

#include <algorithm>

#include "engine/resources/room.h"

namespace ncr::mm_layout {
namespace {

Result<> look(const Task& task, schema::Task* record) {
  const proc::Stat* stat = TRY(task.stat());
  schema::Memory* memory = record->mutable_memory();
  memory->set_start_code(stat->start_code);
  memory->set_end_code(stat->end_code);
  memory->set_start_data(stat->start_data);
  memory->set_end_data(stat->end_data);
  memory->set_start_brk(stat->start_brk);
  memory->set_start_stack(stat->start_stack);
  memory->set_arg_start(stat->arg_start);
  memory->set_arg_end(stat->arg_end);
  memory->set_env_start(stat->env_start);
  memory->set_env_end(stat->env_end);
  return {};
}

// A process that locks future mappings has some locked already: its stack, or what was mapped
// since.
bool locks_something(const Task& task) {
  auto status = task.status(task.pid);
  return status.ok() && strtoull(std::string(proc::field(status.value()->text, "VmLck")).c_str(),
                                 nullptr, 10) != 0;
}

// The kernel gives its whole array; what counts ends with AT_NULL and its value.
std::string up_to_end(const uint64_t* words, uint64_t count) {
  uint64_t used = 0;
  while (used + 2 <= count && words[used] != AT_NULL) used += 2;
  used = std::min(used + 2, count);
  return std::string(reinterpret_cast<const char*>(words), used * sizeof(uint64_t));
}

void ask(const Task& task, const schema::Task&, Batch& batch) {
  batch.ask<Get>({});
  if (locks_something(task)) batch.ask<ProbeLockFuture>({});
}

Result<> read(const Task& task, const Batch& batch, schema::Task* record) {
  int error = 0;
  const Get::Reply* reply = batch.find<Get>(&error);
  if (reply == nullptr) return Error::system(error, "brk in the target");
  schema::Memory* memory = record->mutable_memory();
  memory->set_brk(reply->brk);
  if (reply->auxv_size != 0)
    memory->set_auxv(up_to_end(reply->auxv, reply->auxv_size / sizeof(uint64_t)));
  else
    memory->set_auxv(TRY(sys::read_file_at(task.proc, "auxv")));
  if (!locks_something(task)) return {};
  const ProbeLockFuture::Reply* lock = batch.find<ProbeLockFuture>(&error);
  if (lock == nullptr)
    return Error::system(error, "map a page in the target, to see whether mappings are locked");
  record->mutable_memory()->set_lock_future(static_cast<uint32_t>(lock->flags));
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "mm_layout", .look = look, .ask = ask, .read = read};

}  // namespace ncr::mm_layout
