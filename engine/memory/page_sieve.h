// Which of the pages that were read have to be stored: not the empty ones, and not those that a
// parent image has.
#pragma once

#include <array>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/run_set.h"
#include "memory.pb.h"

namespace ncr {

class ParentPages;

using PageHash = std::array<char, 16>;  // canonical xxh3-128, seeded

// Pages that were stored, by content: what tasks have in common is stored once. For several
// threads.
class KnownPages {
 public:
  std::optional<uint64_t> find(const PageHash& hash);
  void add(const PageHash& hash, uint64_t stored);

 private:
  struct Hasher {
    size_t operator()(const PageHash& hash) const;
  };
  static constexpr size_t kMost = 1 << 19;  // 2 GiB of pages; beyond, they are stored again

  std::mutex mutex_;
  std::unordered_map<PageHash, uint64_t, Hasher> places_;
};

// Where a run of pages ended up.
struct PlacedRun {
  // kKnown: kStored, at an offset that is known already.
  enum class Place : char { kZero, kStored, kKnown, kParent, kRemote };
  uint64_t start = 0;
  uint64_t pages = 0;
  Place place = Place::kZero;
  uint64_t offset = 0;  // as the fields of schema::PageRun say; of the first page

  uint64_t end() const { return start + pages * kPageSize; }
  // Nothing but a longer run: `next` is what comes behind.
  bool continued_by(const PlacedRun& next) const;
};

struct Sieve {
  const ParentPages* parent = nullptr;
  const schema::PageMap* parent_map = nullptr;  // of the same task or object; null: none
  bool keep_hashes = false;
  uint64_t seed = 0;            // of the checksums: nobody outside can make two pages have the same
  KnownPages* known = nullptr;  // null: pages are not compared with each other
};

struct Sifted {
  uint64_t bytes = 0;           // of pages to be stored, moved to the front of `data`
  std::vector<PlacedRun> runs;  // kStored: offset in `data`
  std::string hashes;           // of the pages to be stored, if asked for
};

// `data` holds the pages of `runs`, one behind the other.
Sifted sift(const Sieve& sieve, const RunSet& runs, char* data);

}  // namespace ncr
