// What has to be done to turn the staged memory of a parent, inherited by fork, into a child's.
// Pure. Addresses are final ones.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/memory/address_ranges.h"
#include "memory.pb.h"
#include "task.pb.h"

namespace ncr {

struct PageRead {
  uint64_t address;
  uint64_t size;
  uint64_t stored;  // byte offset in pages-1.img
};

struct MapPiece {
  AddressRange range;
  bool extends;        // grows the inherited piece that ends where this one starts
  uint64_t inherited;  // start of that piece
};

// The work on one VMA of the child, in the order of the record.
struct VmaStage {
  const schema::Vma* vma = nullptr;
  const schema::Vma* inherited = nullptr;  // of the parent, when some of it stays; the first one
  bool mixed = false;                      // pieces of several VMAs of the parent stay
  std::vector<MapPiece> map;
  bool filled = false;  // pages are written: it must be writable meanwhile
};

struct StagePlan {
  std::vector<AddressRange> unmap;
  std::vector<VmaStage> vmas;
  std::vector<AddressRange> drop;  // pages the parent has and the child has not
  std::vector<PageRead> read;
  std::vector<AddressRange> zero;  // pages of zeroes over a private file, or within huge ones
};

// An address space and where its pages are.
struct StoredMemory {
  const schema::Memory* memory = nullptr;  // null: empty
  const schema::PageMap* pages = nullptr;  // null: no page
};

bool is_staged(const schema::Vma& vma);  // not the kernel's own mappings

Result<StagePlan> plan_stage(const StoredMemory& parent, const StoredMemory& child);

}  // namespace ncr
