// Pure but for looks into the parent's pages. Runs in the threads of the page pump, on pages that
// lie in the second-level cache, so what a checksum costs is the arithmetic.
#include "engine/memory/page_sieve.h"

#include <cstring>
#include <optional>

#include "engine/base/xxh3.h"
#include "engine/memory/parent_pages.h"

namespace ncr {
namespace {

bool is_zero_page(const char* page) {
  const uint64_t* words = reinterpret_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPageSize / sizeof(uint64_t); i += 8) {
    uint64_t any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] |
                   words[i + 5] | words[i + 6] | words[i + 7];
    if (any != 0) return false;
  }
  return true;
}

PageHash hash_of(const char* page, uint64_t seed) {
  const Digest digest = xxh3_128(page, kPageSize, seed);
  PageHash hash;
  std::memcpy(hash.data(), digest.data(), sizeof hash);
  return hash;
}

class Sifting {
 public:
  Sifting(const Sieve& sieve, const RunSet& runs, char* data)
      : sieve_(sieve),
        to_(data),
        data_(data),
        parent_(sieve.parent_map, runs.empty() ? 0 : runs.front().start) {}

  void page(uint64_t address, char* from) {
    using Place = PlacedRun::Place;
    if (is_zero_page(from)) return place({address, 1, Place::kZero, 0});
    std::optional<uint64_t> theirs = parent_.at(address);
    PageHash hash{};
    if (theirs || sieve_.keep_hashes || sieve_.known != nullptr) hash = hash_of(from, sieve_.seed);
    if (theirs && sieve_.parent->holds(*theirs, from, hash, sieve_.seed))
      return place({address, 1, Place::kParent, *theirs});
    if (sieve_.known != nullptr)
      if (std::optional<uint64_t> stored = sieve_.known->find(hash))
        return place({address, 1, Place::kKnown, *stored});
    place({address, 1, Place::kStored, static_cast<uint64_t>(to_ - data_)});
    if (sieve_.keep_hashes) sifted_.hashes.append(hash.data(), hash.size());
    if (from != to_) std::memcpy(to_, from, kPageSize);
    to_ += kPageSize;
  }

  Sifted take() {
    sifted_.bytes = static_cast<uint64_t>(to_ - data_);
    return std::move(sifted_);
  }

 private:
  void place(const PlacedRun& run) {
    if (!sifted_.runs.empty() && sifted_.runs.back().continued_by(run))
      sifted_.runs.back().pages++;
    else
      sifted_.runs.push_back(run);
  }

  const Sieve& sieve_;
  char* to_;
  char* data_;
  ParentCursor parent_;
  Sifted sifted_;
};

}  // namespace

size_t KnownPages::Hasher::operator()(const PageHash& hash) const {
  size_t value;
  std::memcpy(&value, hash.data(), sizeof value);
  return value;
}

std::optional<uint64_t> KnownPages::find(const PageHash& hash) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = places_.find(hash);
  if (found == places_.end()) return {};
  return found->second;
}

void KnownPages::add(const PageHash& hash, uint64_t stored) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (places_.size() < kMost) places_.emplace(hash, stored);
}

bool PlacedRun::continued_by(const PlacedRun& next) const {
  if (next.start != end() || next.place != place) return false;
  return place == Place::kZero || next.offset == offset + pages * kPageSize;
}

Sifted sift(const Sieve& sieve, const RunSet& runs, char* data) {
  Sifting sifting(sieve, runs, data);
  char* from = data;
  for (const AddressRun& run : runs)
    for (uint64_t at = run.start; at < run.end(); at += kPageSize, from += kPageSize)
      sifting.page(at, from);
  return sifting.take();
}

}  // namespace ncr
