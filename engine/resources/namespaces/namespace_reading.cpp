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

// Visitors: one for each room that prepares, and one for all others.
void NamespacePreparation::begin(const DumpRequest& request, const Links& own) {
  bool others = false;
  for (const NamespaceRoom* room : namespace_rooms()) {
    if (!enterable(room->kind) || (request.empty_namespaces & room->clone_flag) != 0) continue;
    Result<Fd> fd = sys::open(strf("/proc/%d/ns/%s", request.pid, room->name).c_str(), O_RDONLY);
    struct stat status {};
    if (!fd.ok() || ::fstat(fd.value().get(), &status) != 0) continue;
    auto ours = own.find(room->name);
    if (ours == own.end() || inode_of(ours->second) == status.st_ino) continue;
    if (is_external(request, *room, status.st_ino)) continue;
    if (room->prepare == nullptr) {
      others = true;
      continue;
    }
    std::unique_ptr<Prepared>* prepared = &prepared_[status.st_ino];
    auto opened = std::make_shared<Fd>(fd.take());
    visitors_.emplace_back().send([=] { enter_and_prepare(*room, *opened, prepared); });
  }
  if (others) visitors_.emplace_back();
}

void NamespacePreparation::finish() {
  for (Visitor& visitor : visitors_) visitor.wait();
}

Visitor& NamespacePreparation::visitor() {
  if (taken_ == visitors_.size()) visitors_.emplace_back();
  return *std::next(visitors_.begin(), static_cast<ptrdiff_t>(taken_++));
}

const Prepared* NamespacePreparation::of(uint64_t inode) const {
  auto found = prepared_.find(inode);
  return found == prepared_.end() ? nullptr : found->second.get();
}

void NamespaceReading::Visit::look() { outcome = enter_and_dump(room, probe, &written, blockers); }

void NamespaceReading::Visit::wait() {
  if (visitor != nullptr) visitor->wait();
}

NamespaceReading::~NamespaceReading() {
  for (Visit& visit : visits_) visit.wait();
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
      visits_.back().probe.engines = table_.engines(room->kind);
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

void NamespaceReading::prepare(Visit& visit) const {
  visit.written = table_.records()[visit.record];
  visit.blockers = {};
}

void NamespaceReading::begin_beside(Visit& visit) {
  if (visit.visitor == nullptr) visit.visitor = &prepared_.visitor();
  prepare(visit);
  visit.visitor->send_beside([&visit] { visit.look(); });
}

// Who has gone into a mount namespace sees only such from then on.
void NamespaceReading::do_now(Visit& visit) {
  prepare(visit);
  if (!enterable(visit.room.kind)) return visit.look();
  const bool mounts = visit.room.kind == schema::Namespace::kMnt;
  if (visitor_ == nullptr || (sees_mounts_ && !mounts)) visitor_ = &prepared_.visitor();
  sees_mounts_ = mounts;
  visitor_->send([&visit] { visit.look(); });
  visitor_->wait();
}

Result<> NamespaceReading::begin() {
  TRY(add_visits());
  for (Visit& visit : visits_)
    if (visit.room.beside_tasks) begin_beside(visit);
  return {};
}

// What was looked at beside the tasks knew nothing of the namespaces that were found meanwhile, to
// which it may lead.
void NamespaceReading::visit_again() {
  if (table_.deserted().empty()) return;
  for (Visit& visit : visits_) {
    if (!visit.room.beside_tasks) continue;
    visit.wait();
    for (const Deserted& one : table_.deserted())
      if (table_.records()[one.record].content_case() == visit.room.kind)
        visit.probe.deserted.push_back(one.fd.get());
    if (!visit.probe.deserted.empty()) begin_beside(visit);
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
    do_now(*visit);
    TRY(add_visits());
  }
  visit_again();
  for (Visit& visit : visits_) {
    visit.wait();
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
