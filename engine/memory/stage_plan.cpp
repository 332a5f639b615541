// Pure. A parent's VMA stays where a VMA of the child overlaps it and is the same kind of mapping;
// a page stays where both have it at the same place in the page store, so that it remains one
// physical page, copy-on-write, as it was in the dumped tree.
#include "engine/memory/stage_plan.h"

#include <sys/mman.h>

#include <algorithm>
#include <cinttypes>

namespace ncr {
namespace {

constexpr uint64_t kNever = ~0ull;

bool has_advice(const schema::Vma& vma, uint32_t advice) {
  return std::find(vma.advice().begin(), vma.advice().end(), advice) != vma.advice().end();
}

bool loses_pages_by_fork(const schema::Vma& vma) {
  return vma.droppable() || has_advice(vma, MADV_WIPEONFORK);
}

// Advice and guards can be added to what was inherited, but not all of them can be taken back.
bool advice_can_follow(const schema::Vma& parent, const schema::Vma& child) {
  for (uint32_t advice : parent.advice())
    if (!has_advice(child, advice)) return false;
  if (parent.guards().empty()) return true;
  return std::equal(
      parent.guards().begin(), parent.guards().end(), child.guards().begin(), child.guards().end(),
      [](const auto& a, const auto& b) { return a.start() == b.start() && a.end() == b.end(); });
}

bool is_file(const schema::Vma& vma) {
  return vma.file_id() != 0 || vma.shmem_id() != 0 || vma.kind() == schema::VMA_SYSV;
}

bool can_stay(const schema::Vma& parent, const schema::Vma& child) {
  if (has_advice(parent, MADV_DONTFORK)) return false;
  if (parent.kind() != child.kind() || parent.file_id() != child.file_id() ||
      parent.shmem_id() != child.shmem_id() || parent.sysv_id() != child.sysv_id() ||
      parent.sysv_read_only() != child.sysv_read_only())
    return false;
  if (is_file(parent) &&
      parent.file_offset() - parent.start() != child.file_offset() - child.start())
    return false;
  if (parent.grows_down() != child.grows_down() || parent.no_reserve() != child.no_reserve() ||
      parent.droppable() != child.droppable() ||
      parent.huge_page_shift() != child.huge_page_shift())
    return false;
  // A stack that went on growing cannot be extended downwards in one piece.
  if (child.grows_down() && child.start() < parent.start()) return false;
  return advice_can_follow(parent, child);
}

enum class Place { kAbsent, kZero, kStored };

struct PageSegment {
  Place place;
  uint64_t stored;  // of the first page asked for
  uint64_t end;     // the answer holds up to here
};

// Answers "where is the page at this address" for ascending addresses.
class PageCursor {
 public:
  explicit PageCursor(const schema::PageMap* map) : map_(map) {}
  PageSegment at(uint64_t address) {
    if (map_ == nullptr) return {Place::kAbsent, 0, kNever};
    while (next_ < map_->runs_size() && end_of(map_->runs(next_)) <= address) next_++;
    if (next_ == map_->runs_size()) return {Place::kAbsent, 0, kNever};
    const schema::PageRun& run = map_->runs(next_);
    if (run.start() > address) return {Place::kAbsent, 0, run.start()};
    if (run.zero()) return {Place::kZero, 0, end_of(run)};
    return {Place::kStored, run.stored() + (address - run.start()), end_of(run)};
  }

 private:
  static uint64_t end_of(const schema::PageRun& run) { return run.start() + run.pages() * 4096; }
  const schema::PageMap* map_;
  int next_ = 0;
};

template <class List, class Item>
void append(List& list, const Item& item, bool joins) {
  if (joins)
    list.back().end = item.end;
  else
    list.push_back(item);
}

void append_range(std::vector<AddressRange>& list, const AddressRange& range) {
  append(list, range, !list.empty() && list.back().end == range.start);
}

class Planner {
 public:
  Planner(const StoredMemory& parent, const StoredMemory& child)
      : parent_(parent), child_(child), have_(parent.pages), want_(child.pages) {}

  Result<StagePlan> plan() {
    for (const schema::Vma& vma : child_.memory->vmas())
      if (is_staged(vma)) plan_vma(vma);
    plan_unmap();
    return std::move(plan_);
  }

 private:
  // Both lists of VMAs ascend, so the first candidate only moves forward.
  void plan_vma(const schema::Vma& vma) {
    VmaStage stage;
    stage.vma = &vma;
    uint64_t at = vma.start();
    uint64_t piece = 0;
    for (int i = first_candidate(vma); i < parent_vmas() && parent_vma(i).start() < vma.end();
         i++) {
      const schema::Vma& old = parent_vma(i);
      if (!is_staged(old) || !can_stay(old, vma)) continue;
      const AddressRange kept{std::max(old.start(), vma.start()), std::min(old.end(), vma.end())};
      if (kept.start > at) map_piece(stage, {{at, kept.start}, false, 0});
      plan_pages(stage, kept, loses_pages_by_fork(old) ? nullptr : &have_);
      kept_.push_back(kept);
      stage.mixed = stage.inherited != nullptr;
      if (stage.inherited == nullptr) stage.inherited = &old;
      at = kept.end;
      piece = kept.start;
    }
    if (at < vma.end()) {
      const bool grows =
          stage.inherited != nullptr && vma.shmem_id() == 0 && vma.kind() != schema::VMA_SYSV;
      map_piece(stage, {{at, vma.end()}, grows, piece});
    }
    plan_.vmas.push_back(std::move(stage));
  }

  void map_piece(VmaStage& stage, const MapPiece& piece) {
    stage.map.push_back(piece);
    plan_pages(stage, piece.range, nullptr);
  }

  // have: the parent's pages, null when none of them is there.
  void plan_pages(VmaStage& stage, const AddressRange& range, PageCursor* have) {
    const bool over_file = stage.vma->kind() == schema::VMA_FILE_PRIVATE;
    if (!over_file && stage.vma->kind() != schema::VMA_ANONYMOUS) return;
    for (uint64_t at = range.start; at < range.end;) {
      PageSegment want = plain(want_.at(at), over_file);
      PageSegment old =
          have == nullptr ? PageSegment{Place::kAbsent, 0, kNever} : plain(have->at(at), over_file);
      const uint64_t end = std::min({range.end, want.end, old.end});
      if (want.place != old.place || (want.place == Place::kStored && want.stored != old.stored))
        change(stage, {at, end}, want);
      at = end;
    }
  }

  // An anonymous page of zeroes is as good as none.
  static PageSegment plain(PageSegment segment, bool over_file) {
    if (segment.place == Place::kZero && !over_file) segment.place = Place::kAbsent;
    return segment;
  }

  void change(VmaStage& stage, const AddressRange& range, const PageSegment& want) {
    const bool drops = want.place == Place::kAbsent && stage.vma->huge_page_shift() == 0;
    if (drops) return append_range(plan_.drop, range);
    stage.filled = true;
    if (want.place != Place::kStored) return append_range(plan_.zero, range);
    plan_.read.push_back({range.start, range.end - range.start, want.stored});
  }

  void plan_unmap() {
    std::vector<AddressRange> staged;
    for (int i = 0; i < parent_vmas(); i++)
      if (is_staged(parent_vma(i)) && !has_advice(parent_vma(i), MADV_DONTFORK))
        staged.push_back({parent_vma(i).start(), parent_vma(i).end()});
    plan_.unmap = common(merged(std::move(staged)), gaps_between(kept_, kNever));
  }

  int first_candidate(const schema::Vma& vma) {
    while (candidate_ < parent_vmas() && parent_vma(candidate_).end() <= vma.start()) candidate_++;
    return candidate_;
  }
  int parent_vmas() const { return parent_.memory == nullptr ? 0 : parent_.memory->vmas_size(); }
  const schema::Vma& parent_vma(int i) const { return parent_.memory->vmas(i); }

  const StoredMemory& parent_;
  const StoredMemory& child_;
  PageCursor have_;
  PageCursor want_;
  int candidate_ = 0;
  std::vector<AddressRange> kept_;
  StagePlan plan_;
};

}  // namespace

bool is_staged(const schema::Vma& vma) {
  switch (vma.kind()) {
    case schema::VMA_ANONYMOUS:
    case schema::VMA_FILE_PRIVATE:
    case schema::VMA_FILE_SHARED:
    case schema::VMA_SHMEM:
    case schema::VMA_SYSV:
      return true;
    default:
      return false;
  }
}

Result<StagePlan> plan_stage(const StoredMemory& parent, const StoredMemory& child) {
  return Planner(parent, child).plan();
}

}  // namespace ncr
