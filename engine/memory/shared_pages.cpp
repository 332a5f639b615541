// After fork() parent and child map the same page frames until one of them writes. The kernel tells
// the frame's number in /proc/PID/pagemap (to CAP_SYS_ADMIN), and whether it is mapped once only:
// pages that are cannot be shared and are never looked up. Userspace cannot see who else maps a
// frame, hence a table of those met so far. Where numbers are hidden, a checksum of the content
// stands in for them.
//
// Most trees share little: a page is looked at only if its address is in use in two tasks. Pages of
// a task that no other task's addresses touched yet stay unread, and are read when one does.
#include "engine/memory/shared_pages.h"

#include <sys/random.h>
#include <xxhash.h>

#include <algorithm>
#include <optional>

#include "engine/memory/page_reader.h"

namespace ncr {
namespace {

// From page key to the first task that had it, and where. Open addressing; 16 bytes an entry.
class FirstOwners {
 public:
  struct Owner {
    uint32_t task;
    uint64_t address;
    bool operator==(const Owner&) const = default;
  };

  std::optional<Owner> find(uint64_t key) const {
    const Slot& slot = slots_[place(key)];
    if (slot.owner == kEmpty) return {};
    return Owner{static_cast<uint32_t>(slot.owner >> kPageBits),
                 (slot.owner & ((uint64_t{1} << kPageBits) - 1)) * kPageSize};
  }

  // Does nothing if the key is known, or if there is no room: the page is stored again then.
  void add(uint64_t key, Owner owner) {
    if (used_ * 4 >= slots_.size() * 3 && !grow()) return;
    Slot& slot = slots_[place(key)];
    if (slot.owner != kEmpty || owner.task >= kMostTasks) return;
    slot = {key, uint64_t{owner.task} << kPageBits | owner.address / kPageSize};
    used_++;
  }

 private:
  struct Slot {
    uint64_t key;
    uint64_t owner;
  };
  static constexpr unsigned kPageBits = 45;  // of an address of 57 bits
  static constexpr uint32_t kMostTasks = (1u << (64 - kPageBits)) - 1;
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static constexpr size_t kMostSlots = size_t{1} << 21;  // 32 MiB: 6 GiB of shared pages

  size_t place(uint64_t key) const {
    size_t mask = slots_.size() - 1;
    size_t at = static_cast<size_t>(key * 0x9e3779b97f4a7c15u >> 20) & mask;
    while (slots_[at].owner != kEmpty && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  bool grow() {
    if (slots_.size() >= kMostSlots) return false;
    std::vector<Slot> old(slots_.size() * 2, Slot{0, kEmpty});
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.owner != kEmpty) slots_[place(slot.key)] = slot;
    }
    return true;
  }

  std::vector<Slot> slots_ = std::vector<Slot>(1024, Slot{0, kEmpty});
  size_t used_ = 0;
};

void append_shared(std::vector<SharedRun>* shared, uint64_t address, uint32_t owner) {
  if (!shared->empty() && shared->back().owner == owner && shared->back().run.end() == address) {
    shared->back().run.pages++;
  } else {
    shared->push_back({{address, 1}, owner});
  }
}

bool may_be_shared(PageEntry entry) {
  return entry.present() && !entry.file() && !entry.exclusive();
}

}  // namespace

struct SharedPages::Impl {
  struct Known {
    pid_t pid;
    RunSet unread;  // pages not in the table yet
  };

  PageKey key;
  uint64_t seed = 0;
  std::vector<Known> tasks;
  std::vector<uint32_t> unread;  // tasks that have some
  RunSet in_use;                 // by any task
  FirstOwners owners;

  // Keys of those of `pages` that may be shared; those that nobody else maps are added to
  // `mapped_once`, if it is not null.
  template <class F>
  Result<> for_each_key(pid_t pid, const RunSet& pages, F see, RunSet* mapped_once = nullptr) {
    Fd pagemap = TRY(open_pagemap(pid));
    RunSet candidates;
    TRY(read_entries(pagemap, pages, [&](uint64_t address, PageEntry entry) {
      if (mapped_once != nullptr && entry.present() && entry.exclusive())
        append(mapped_once, address, address + kPageSize);
      if (!may_be_shared(entry)) return;
      if (key == PageKey::kFrame && entry.frame() == 0) key = PageKey::kContent;
      if (key == PageKey::kFrame) {
        see(address, entry.frame());
      } else {
        append(&candidates, address, address + kPageSize);
      }
    }));
    return for_each_checksum(pid, candidates, see);
  }

  template <class F>
  Result<> for_each_checksum(pid_t pid, const RunSet& pages, F see) {
    constexpr uint64_t kPiece = 64;
    std::vector<char> buffer(pages.empty() ? 0 : kPiece * kPageSize);
    for (AddressRun run : pages) {
      while (run.pages > 0) {
        AddressRun piece{run.start, std::min(kPiece, run.pages)};
        TRY(read_pages(pid, {piece}, buffer.data()));
        for (uint64_t i = 0; i < piece.pages; i++) {
          const char* page = buffer.data() + i * kPageSize;
          see(piece.start + i * kPageSize, XXH3_64bits_withSeed(page, kPageSize, seed));
        }
        run = {piece.end(), run.pages - piece.pages};
      }
    }
    return {};
  }

  // Brings the earlier tasks' pages at these addresses into the table.
  Result<> read_earlier(const RunSet& pages) {
    std::vector<uint32_t> still_unread;
    for (uint32_t task : unread) {
      Known& known = tasks[task];
      RunSet now = intersection(known.unread, pages);
      if (!now.empty()) {
        TRY(for_each_key(known.pid, now, [&](uint64_t address, uint64_t page_key) {
          owners.add(page_key, {task, address});
        }));
        known.unread = difference(known.unread, now);
      }
      if (!known.unread.empty()) still_unread.push_back(task);
    }
    unread = std::move(still_unread);
    return {};
  }
};

SharedPages::SharedPages(PageKey key) : impl_(std::make_unique<Impl>()) {
  impl_->key = key;
  // So that nobody can prepare two pages with one checksum.
  if (::getrandom(&impl_->seed, sizeof impl_->seed, 0) < 0) impl_->seed = 0;
}
SharedPages::SharedPages(SharedPages&&) noexcept = default;
SharedPages::~SharedPages() = default;

Result<FoundPages> SharedPages::add(pid_t pid, const RunSet& pages) {
  auto self = static_cast<uint32_t>(impl_->tasks.size());
  RunSet contested = intersection(pages, impl_->in_use);
  TRY(impl_->read_earlier(contested));
  FoundPages result;
  auto see = [&](uint64_t address, uint64_t key) {
    std::optional<FirstOwners::Owner> owner = impl_->owners.find(key);
    if (!owner) {
      impl_->owners.add(key, {self, address});
    } else if (owner->address == address) {
      append_shared(&result.shared, address, owner->task);
    }
  };
  TRY(impl_->for_each_key(pid, contested, see, &result.mapped_once));
  impl_->in_use = set_union(impl_->in_use, pages);
  impl_->tasks.push_back({pid, difference(pages, contested)});
  if (!impl_->tasks.back().unread.empty()) impl_->unread.push_back(self);
  return result;
}

Result<RunSet> SharedPages::moved(uint32_t owner, const RunSet& pages) {
  if (impl_->key == PageKey::kContent) return RunSet();
  RunSet there;
  TRY(impl_->for_each_key(impl_->tasks[owner].pid, pages, [&](uint64_t address, uint64_t key) {
    std::optional<FirstOwners::Owner> found = impl_->owners.find(key);
    if (found == FirstOwners::Owner{owner, address}) append(&there, address, address + kPageSize);
  }));
  return difference(pages, there);
}

}  // namespace ncr
