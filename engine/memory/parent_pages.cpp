// Whether a page is as the parent image has it is found out by comparing: by its checksum where the
// parent noted those, else by its bytes. Nothing is assumed of what happened between the two dumps:
// a process number may have gone to another process, a mapping may be a new one. So a pre-dump may
// read memory that changes under its hands.
#include "engine/memory/parent_pages.h"

#include <algorithm>
#include <cstring>

namespace ncr {

Result<ParentPages> ParentPages::open(const std::string& images_dir, const std::string& parent) {
  const std::string path = parent.starts_with("/") ? parent : images_dir + "/" + parent;
  Image image =
      TRY_WHILE(Image::open_memory(path, PageCheck::kAbsent), "parent image %s", parent.c_str());
  if (image.inventory.remote_pages() != 0)
    return Error::usage(strf("parent image %s: its pages were never stored", parent.c_str()));
  return ParentPages(std::move(image));
}

const schema::PageMap* ParentPages::of_task(int32_t pid) const {
  auto found = image_.task_pages.find(pid);
  return found == image_.task_pages.end() ? nullptr : &found->second;
}

const schema::PageMap* ParentPages::of_object(uint64_t shmem_id) const {
  auto found = image_.shmem_pages.find(shmem_id);
  return found == image_.shmem_pages.end() ? nullptr : &found->second;
}

std::optional<uint64_t> ParentPages::seed() const {
  for (const HashedPages& pages : image_.page_hashes)
    if (!pages.hashes.empty()) return pages.seed;
  return {};
}

bool ParentPages::holds(uint64_t place, const char* page, const PageHash& hash,
                        uint64_t seed) const {
  Result<PageFiles::Piece> piece = image_.pages.find(place, kPageSize);
  if (!piece.ok() || contains(image_.dropped, {place, 1})) return false;
  const auto& [their_seed, hashes] = image_.page_hashes[piece.value().file];
  if (!hashes.empty() && their_seed == seed) {
    const uint64_t index = piece.value().offset / kPageSize;
    return std::memcmp(hashes.data() + index * sizeof hash, hash.data(), sizeof hash) == 0;
  }
  char theirs[kPageSize];
  // Pages that cannot be read are stored again.
  return image_.pages.read(theirs, kPageSize, place).ok() &&
         std::memcmp(theirs, page, kPageSize) == 0;
}

ParentCursor::ParentCursor(const schema::PageMap* map, uint64_t first) : map_(map) {
  if (map == nullptr) return;
  auto found = std::partition_point(map->runs().begin(), map->runs().end(), [&](const auto& run) {
    return run.start() + run.pages() * kPageSize <= first;
  });
  next_ = static_cast<int>(found - map->runs().begin());
}

std::optional<uint64_t> ParentCursor::at(uint64_t address) {
  if (map_ == nullptr) return {};
  for (; next_ < map_->runs_size(); next_++) {
    const schema::PageRun& run = map_->runs(next_);
    if (address >= run.start() + run.pages() * kPageSize) continue;
    if (address < run.start() || run.place_case() != schema::PageRun::kStored) return {};
    return run.stored() + (address - run.start());
  }
  return {};
}

}  // namespace ncr
