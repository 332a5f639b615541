// Runs in the engine. setns(2) moves a thread of a program with several into another namespace of
// these four kinds; of the others a member's files in /proc tell.
#include "engine/resources/namespaces/namespace_reading.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>

#include "engine/base/sys.h"
#include "engine/resources/mount_namespace/split_systems.h"

namespace ncr::namespaces {
namespace {

Result<> enter(const NamespaceRoom& room, const Fd& fd) {
  if (!enterable(room.kind)) return {};
  if (room.kind == schema::Namespace::kMnt) TRY(SYSCALL(::unshare(CLONE_FS), "unshare CLONE_FS"));
  TRY(SYSCALL(::setns(fd.get(), static_cast<int>(room.clone_flag)), "setns"));
  return {};
}

Result<> enter_and_dump(const NamespaceRoom& room, const NamespaceProbe& probe,
                        schema::Namespace* record, Blockers& blockers) {
  TRY(enter(room, probe.fd));
  return room.dump(probe, record, blockers);
}

void enter_and_prepare(const NamespaceRoom& room, const Fd& fd,
                       std::unique_ptr<Prepared>* prepared) {
  if (enter(room, fd).ok()) *prepared = room.prepare();
}

bool is_external(const DumpRequest& request, const NamespaceRoom& room, uint64_t inode) {
  return std::any_of(
      request.externals.begin(), request.externals.end(), [&](const External& external) {
        return external.kind == room.name && external.object == std::to_string(inode);
      });
}

}  // namespace

void NamespacePreparation::begin(const DumpRequest& request, const Links& own) {
  for (const NamespaceRoom* room : namespace_rooms()) {
    if (room->prepare == nullptr || (request.empty_namespaces & room->clone_flag) != 0) continue;
    Result<Fd> fd = sys::open(strf("/proc/%d/ns/%s", request.pid, room->name).c_str(), O_RDONLY);
    struct stat status {};
    if (!fd.ok() || ::fstat(fd.value().get(), &status) != 0) continue;
    auto ours = own.find(room->name);
    if (ours == own.end() || inode_of(ours->second) == status.st_ino) continue;
    if (is_external(request, *room, status.st_ino)) continue;
    std::unique_ptr<Prepared>* prepared = &prepared_[status.st_ino];
    auto opened = std::make_shared<Fd>(fd.take());
    threads_.emplace_back([=] { enter_and_prepare(*room, *opened, prepared); });
  }
}

const Prepared* NamespacePreparation::of(uint64_t inode) const {
  auto found = prepared_.find(inode);
  return found == prepared_.end() ? nullptr : found->second.get();
}

void NamespaceReading::Visit::begin(const schema::Namespace& as_known) {
  written = as_known;
  blockers = {};
  thread.emplace([this] { outcome = enter_and_dump(room, probe, &written, blockers); });
}

Result<Fd> NamespaceReading::open(const NamespaceRoom& room, size_t record) const {
  for (const Deserted& one : table_.deserted())
    if (one.record == record)
      return Fd(TRY(SYSCALL(::fcntl(one.fd.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
  return sys::open_at(tasks_[table_.member_of(record)].proc, strf("ns/%s", room.name).c_str(),
                      O_RDONLY);
}

// Of a kind that is not entered, a member tells; without one it is refused (check_deserted). A
// cgroup namespace shows the cgroups of any task.
Result<> NamespaceReading::add_visits() {
  for (; seen_ < table_.records().size(); seen_++) {
    const schema::Namespace& record = table_.records()[seen_];
    if (record.empty() || !record.external_key().empty()) continue;
    const bool deserted = seen_ >= table_.first_deserted();
    for (const NamespaceRoom* room : namespace_rooms()) {
      if (room->kind != record.content_case() || room->dump == nullptr) continue;
      const bool told = enterable(room->kind) || room->kind == schema::Namespace::kCgroup;
      if (deserted && !told) continue;
      const Task& member = tasks_[table_.member_of(seen_)];
      Fd fd = TRY(open(*room, seen_));
      visits_.emplace_back(*room,
                           NamespaceProbe{tasks_, member, std::move(fd), request_, content_,
                                          prepared_.of(record.inode())},
                           seen_);
      visits_.back().probe.below = table_.belongs_below(record);
      visits_.back().probe.of_root = table_.of(0, room->kind) == record.id();
      if (room->beside_tasks) continue;
      visits_.back().probe.nested_pids = [this](uint64_t inode) {
        return table_.find_nested_pids(inode);
      };
      visits_.back().probe.refer = [this](const Fd& nsfs, const std::string& where) {
        return table_.refer(nsfs, where);
      };
    }
  }
  return {};
}

void NamespaceReading::begin(Visit& visit) { visit.begin(table_.records()[visit.record]); }

Result<> NamespaceReading::begin() {
  TRY(add_visits());
  for (Visit& visit : visits_)
    if (visit.room.beside_tasks) begin(visit);
  return {};
}

// What was looked at beside the tasks knew nothing of the namespaces that were found meanwhile, to
// which it may lead.
void NamespaceReading::visit_again() {
  if (table_.deserted().empty()) return;
  for (Visit& visit : visits_) {
    if (!visit.room.beside_tasks) continue;
    visit.thread.reset();
    for (const Deserted& one : table_.deserted())
      if (table_.records()[one.record].content_case() == visit.room.kind)
        visit.probe.deserted.push_back(one.fd.get());
    if (!visit.probe.deserted.empty()) begin(visit);
  }
}

void NamespaceReading::check_shared_mounts(Blockers& blockers) const {
  std::vector<const schema::Namespace*> spaces;
  std::vector<size_t> records;
  for (size_t i = 0; i < table_.records().size(); i++) {
    if (table_.records()[i].mnt().mounts_size() == 0) continue;
    spaces.push_back(&table_.records()[i]);
    records.push_back(i);
  }
  for (mount_namespace::Split& split :
       mount_namespace::find_split_systems(spaces, !request_.root.empty()))
    blockers.add(tasks_[table_.member_of(records[split.space])], std::move(split.refusal.object),
                 std::move(split.refusal.reason), std::move(split.refusal.way_out));
}

Result<> NamespaceReading::finish(Blockers& blockers) {
  TRY(add_visits());
  for (auto visit = visits_.begin(); visit != visits_.end(); ++visit) {
    if (visit->room.beside_tasks) continue;
    begin(*visit);
    visit->thread.reset();
    TRY(add_visits());
  }
  visit_again();
  for (Visit& visit : visits_) {
    visit.thread.reset();
    TRY_WHILE(std::move(visit.outcome), "%s namespace of task %d (%s)", visit.room.name,
              visit.probe.member.pid, visit.probe.member.comm.c_str());
    blockers.add(std::move(visit.blockers));
    table_.finished_records()[visit.record] = std::move(visit.written);
  }
  table_.check_proc_mounts(tasks_, blockers);
  check_shared_mounts(blockers);
  return table_.check_deserted(tasks_, blockers);
}

}  // namespace ncr::namespaces
