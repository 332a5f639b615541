// Runs in the engine. setns(2) moves a thread of a program with several into another namespace of
// these four kinds; of the others a member's files in /proc tell.
#include "engine/resources/namespaces/namespace_reading.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "engine/base/sys.h"

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

}  // namespace

void NamespacePreparation::begin(pid_t root, const Links& own) {
  for (const NamespaceRoom* room : namespace_rooms()) {
    if (room->prepare == nullptr) continue;
    Result<Fd> fd = sys::open(strf("/proc/%d/ns/%s", root, room->name).c_str(), O_RDONLY);
    struct stat status {};
    if (!fd.ok() || ::fstat(fd.value().get(), &status) != 0) continue;
    auto ours = own.find(room->name);
    if (ours == own.end() || inode_of(ours->second) == status.st_ino) continue;
    std::unique_ptr<Prepared>* prepared = &prepared_[status.st_ino];
    auto opened = std::make_shared<Fd>(fd.take());
    threads_.emplace_back([=] { enter_and_prepare(*room, *opened, prepared); });
  }
}

const Prepared* NamespacePreparation::of(uint64_t inode) const {
  auto found = prepared_.find(inode);
  return found == prepared_.end() ? nullptr : found->second.get();
}

void NamespaceReading::Visit::begin() {
  thread.emplace([this] { outcome = enter_and_dump(room, probe, record, blockers); });
}

Result<> NamespaceReading::begin() {
  for (size_t i = 0; i < table_.finished_records().size(); i++) {
    schema::Namespace& record = table_.finished_records()[i];
    if (record.empty() || !record.external_key().empty()) continue;
    for (const NamespaceRoom* room : namespace_rooms()) {
      if (room->kind != record.content_case() || room->dump == nullptr) continue;
      const Task& member = tasks_[table_.member_of(i)];
      Fd fd = TRY(sys::open_at(member.proc, strf("ns/%s", room->name).c_str(), O_RDONLY));
      visits_.emplace_back(*room,
                           NamespaceProbe{tasks_, member, std::move(fd), request_, content_,
                                          prepared_.of(record.inode())},
                           &record);
    }
  }
  for (Visit& visit : visits_)
    if (visit.room.beside_tasks) visit.begin();
  return {};
}

Result<> NamespaceReading::finish(Blockers& blockers) {
  for (Visit& visit : visits_) {
    if (visit.room.beside_tasks) continue;
    visit.begin();
    visit.thread.reset();
  }
  for (Visit& visit : visits_) {
    visit.thread.reset();
    TRY_WHILE(std::move(visit.outcome), "%s namespace of task %d (%s)", visit.room.name,
              visit.probe.member.pid, visit.probe.member.comm.c_str());
    blockers.add(std::move(visit.blockers));
  }
  return {};
}

}  // namespace ncr::namespaces
