#include "tests/engine/resources/round_trip.h"

#include <fcntl.h>
#include <unistd.h>

#include <map>

#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"

namespace ncr::test {
namespace {

Result<Task> ourselves() {
  Task task;
  task.pid = ::getpid();
  task.comm = "test";
  task.pidfd = TRY(sys::pidfd_open(task.pid));
  task.proc = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  return task;
}

Result<std::map<int, uint32_t>> dump(const std::vector<int>& numbers, ShellJob shell_job,
                                     Image* image, Blockers* blockers) {
  Task task = TRY(ourselves());
  FileTable table;
  std::map<int, uint32_t> ids;
  for (int number : numbers) ids[number] = TRY(table.id_of(task, FdNumber{number}));
  DumpRequest request;
  request.shell_job = shell_job;
  TRY(table.check(request, *blockers));
  TRY(table.finish());
  for (const schema::OpenFile* record : table.records()) {
    std::string bytes = record->SerializeAsString();
    image->files[record->id()].ParseFromString(bytes);
  }
  return ids;
}

Result<> restore(const Image& image, const RestoreRequest& request,
                 const std::map<int, uint32_t>& ids) {
  RestorePlan plan;
  plan.image = &image;
  plan.service_fd_base = 600;
  plan.tasks.resize(1);
  plan.tasks[0].record = &image.tasks[0];
  plan.tasks[0].pid = ::getpid();
  for (uint32_t id = 1; id <= image.files.size(); id++) plan.tasks[0].owned_files.push_back(id);
  FileRestorer files(plan, request);
  TRY(files.open_owned(image.tasks[0]));
  for (const auto& [number, id] : ids) {
    int made = TRY(files.opened(id));
    TRY(SYSCALL(::dup2(made, number), "dup2"));
  }
  for (const auto& [id, file] : image.files) ::close(TRY(files.opened(id)));
  return {};
}

}  // namespace

RoundTrip round_trip(const std::vector<int>& numbers, const RestoreRequest& request) {
  Image image;
  image.tasks.resize(1);
  image.tasks[0].set_pid(::getpid());
  Blockers blockers;
  Result<std::map<int, uint32_t>> ids = dump(numbers, request.shell_job, &image, &blockers);
  if (!ids.ok()) return {ids.error().text(), {}};
  if (!blockers.empty())
    return {"blocked: " + blockers.list()[0].object + ": " + blockers.list()[0].reason,
            blockers.list()};
  for (int number : numbers) ::close(number);
  Result<> restored = restore(image, request, ids.value());
  if (!restored.ok()) return {restored.error().text(), {}};
  return {};
}

}  // namespace ncr::test
