#include "engine/report/json.h"

#include <google/protobuf/message_lite.h>

#include <nlohmann/json.hpp>

#include "engine/resources/room.h"

namespace ncr {
namespace {

using nlohmann::ordered_json;

// Names come from the kernel as bytes; what is not UTF-8 is shown as U+FFFD rather than refused.
std::string printed(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json phases_json(const std::vector<Phase>& phases) {
  ordered_json list = ordered_json::array();
  for (const Phase& phase : phases)
    list.push_back(
        {{"name", phase.name}, {"start_ns", phase.start_ns}, {"duration_ns", phase.duration_ns}});
  return list;
}

const char* kind_name(schema::VmaKind kind) {
  switch (kind) {
    case schema::VMA_ANONYMOUS:
      return "anonymous";
    case schema::VMA_FILE_PRIVATE:
      return "file, private";
    case schema::VMA_FILE_SHARED:
      return "file, shared";
    case schema::VMA_SHMEM:
      return "shared memory";
    case schema::VMA_SYSV:
      return "System V shared memory";
    case schema::VMA_AIO:
      return "ring of asynchronous I/O";
    case schema::VMA_VDSO:
      return "vdso";
    case schema::VMA_VVAR:
      return "vvar";
    case schema::VMA_VSYSCALL:
      return "vsyscall";
    default:
      return "other";
  }
}

const char* state_name(schema::TaskState state) {
  switch (state) {
    case schema::TASK_STOPPED:
      return "stopped";
    case schema::TASK_ZOMBIE:
      return "zombie";
    default:
      return "running";
  }
}

std::string file_path(const Image& image, uint32_t id) {
  auto found = image.files.find(id);
  return found == image.files.end() ? "" : found->second.path();
}

ordered_json maps_json(const Image& image, const schema::Memory& memory) {
  ordered_json list = ordered_json::array();
  for (const schema::Vma& vma : memory.vmas()) {
    std::string prot = {vma.prot() & 1 ? 'r' : '-', vma.prot() & 2 ? 'w' : '-',
                        vma.prot() & 4 ? 'x' : '-'};
    ordered_json entry = {{"start", strf("0x%llx", static_cast<unsigned long long>(vma.start()))},
                          {"end", strf("0x%llx", static_cast<unsigned long long>(vma.end()))},
                          {"protection", prot},
                          {"kind", kind_name(vma.kind())}};
    if (vma.heap()) entry["name"] = "[heap]";
    if (vma.grows_down()) entry["name"] = "[stack]";
    if (vma.file_id() != 0) {
      entry["path"] = file_path(image, vma.file_id());
      entry["offset"] = vma.file_offset();
    }
    if (vma.shmem_id() != 0) entry["shared_memory"] = vma.shmem_id();
    list.push_back(std::move(entry));
  }
  return list;
}

ordered_json descriptors_json(const Image& image, const schema::Task& task) {
  ordered_json list = ordered_json::array();
  for (const schema::Descriptor& descriptor : task.descriptors()) {
    ordered_json entry = {{"number", descriptor.number()},
                          {"file", descriptor.file_id()},
                          {"close_on_exec", descriptor.close_on_exec()}};
    auto found = image.files.find(descriptor.file_id());
    if (found != image.files.end()) {
      const FdRoom* room = fd_room_of(found->second.kind_case());
      entry["kind"] = room == nullptr ? "unknown" : room->name;
      entry["path"] = found->second.path();
      entry["flags"] = strf("0%o", found->second.flags());
    }
    list.push_back(std::move(entry));
  }
  return list;
}

uint64_t stored_pages(const Image& image, int32_t pid) {
  uint64_t pages = 0;
  auto found = image.task_pages.find(pid);
  if (found != image.task_pages.end())
    for (const schema::PageRun& run : found->second.runs()) pages += run.pages();
  return pages;
}

ordered_json task_json(const Image& image, const schema::Task& task) {
  ordered_json threads = ordered_json::array();
  for (const schema::Thread& thread : task.threads())
    threads.push_back({{"tid", thread.tid()}, {"comm", thread.comm()}});
  ordered_json command_line = ordered_json::array();
  for (const std::string& argument : task.cmdline()) command_line.push_back(argument);
  ordered_json entry = {{"pid", task.pid()},
                        {"ppid", task.ppid()},
                        {"pgid", task.pgid()},
                        {"sid", task.sid()},
                        {"state", state_name(task.state())},
                        {"comm", task.comm()},
                        {"command_line", command_line},
                        {"threads", threads},
                        {"pages", stored_pages(image, task.pid())}};
  if (task.state() == schema::TASK_ZOMBIE) {
    entry["exit_status"] = task.exit_status();
    return entry;
  }
  entry["executable"] = file_path(image, task.memory().exe_file_id());
  entry["cwd"] = task.fs().cwd();
  entry["maps"] = maps_json(image, task.memory());
  entry["descriptors"] = descriptors_json(image, task);
  return entry;
}

std::string hex(const std::string& bytes) {
  std::string text;
  for (char byte : bytes)
    text += strf("%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
  return text;
}

const char* need_name(Need need) {
  switch (need) {
    case Need::kRequired:
      return "required";
    case Need::kFaster:
      return "speed";
    default:
      return "coverage";
  }
}

}  // namespace

std::string to_json(const DumpReport& report) {
  return printed({{"tasks", report.tasks},
                  {"threads", report.threads},
                  {"frozen_ns", report.frozen_ns},
                  {"total_ns", report.total_ns},
                  {"image_bytes", report.image_bytes},
                  {"pages",
                   {{"scanned", report.pages_scanned},
                    {"written", report.pages_written},
                    {"zero", report.pages_zero},
                    {"shared", report.pages_shared},
                    {"parent", report.pages_parent},
                    {"lazy", report.pages_lazy}}},
                  {"shared_memory_pages",
                   {{"scanned", report.shpages_scanned},
                    {"written", report.shpages_written},
                    {"parent", report.shpages_parent}}},
                  {"memory_ns", report.memory_ns},
                  {"write_ns", report.write_ns},
                  {"phases", phases_json(report.phases)}});
}

std::string to_json(const RestoreReport& report) {
  return printed({{"root_pid", report.root_pid},
                  {"tasks", report.tasks},
                  {"threads", report.threads},
                  {"total_ns", report.total_ns},
                  {"pages_restored", report.pages_restored},
                  {"phases", phases_json(report.phases)}});
}

std::string to_json(const PagerReport& report) {
  return printed({{"pages",
                   {{"faults", report.faults},
                    {"copied", report.pages_copied},
                    {"zero", report.pages_zero}}}});
}

std::string describe_image_json(const Image& image) {
  const schema::Inventory& inventory = image.inventory;
  ordered_json files = ordered_json::array();
  for (const schema::FileEntry& file : inventory.files())
    files.push_back({{"name", file.name()}, {"size", file.size()}});
  ordered_json tasks = ordered_json::array();
  for (const schema::Task& task : image.tasks) tasks.push_back(task_json(image, task));
  return printed({{"inventory",
                   {{"format_version", inventory.format_version()},
                    {"arch", inventory.arch()},
                    {"kernel_release", inventory.kernel_release()},
                    {"producer", inventory.producer()},
                    {"uuid", hex(inventory.uuid())},
                    {"created_unix_ns", inventory.created_unix_ns()},
                    {"root_pid", inventory.root_pid()},
                    {"memory_only", inventory.memory_only()},
                    {"parent", inventory.parent()},
                    {"parent_uuid", hex(inventory.parent_uuid())},
                    {"cpu", inventory.cpu().model()},
                    {"files", files}}},
                  {"tasks", tasks}});
}

std::string verify_json(const Image& image) {
  uint64_t bytes = 0;
  for (const schema::FileEntry& file : image.inventory.files()) bytes += file.size();
  return printed({{"files", image.inventory.files_size() + 1},
                  {"bytes", bytes},
                  {"tasks", image.tasks.size()}});
}

std::string pages_json(uint64_t pages) {
  return printed({{"pages", pages}, {"bytes", pages * kPageSize}});
}

std::string check_json(const std::vector<KernelFeature>& features,
                       const std::vector<Blocker>& blockers) {
  ordered_json feature_list = ordered_json::array();
  for (const KernelFeature& feature : features)
    feature_list.push_back({{"name", feature.name},
                            {"present", feature.present},
                            {"need", need_name(feature.need)},
                            {"lost", feature.lost}});
  ordered_json blocker_list = ordered_json::array();
  for (const Blocker& blocker : blockers)
    blocker_list.push_back({{"pid", blocker.pid},
                            {"comm", blocker.comm},
                            {"object", blocker.object},
                            {"reason", blocker.reason},
                            {"way_out", blocker.way_out}});
  return printed({{"features", feature_list}, {"blockers", blocker_list}});
}

}  // namespace ncr
