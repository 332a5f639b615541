// Two ways into another task's memory, each with a flaw. process_vm_readv(2) is fast, but pins what
// it reads, and since Linux 5.19 pinning takes a page that is shared by fork and gives the task a
// copy of its own (gup_must_unshare in mm/gup.c): reading a family of forked tasks would multiply
// its memory. It also obeys the mapping's protection, and pages may lie behind PROT_NONE.
// /proc/PID/mem does neither, at half the speed. So pages that are mapped once go the fast way, the
// others the gentle one; /proc/PID/pagemap tells them apart.
#include "engine/memory/page_reader.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <vector>

#include "engine/memory/page_table.h"

namespace ncr {
namespace {

struct Piece {
  uint64_t address;
  char* to;
  uint64_t size;
};

void append(std::vector<Piece>* pieces, uint64_t address, char* to) {
  if (!pieces->empty()) {
    Piece& last = pieces->back();
    if (last.address + last.size == address && last.to + last.size == to) {
      last.size += kPageSize;
      return;
    }
  }
  pieces->push_back({address, to, kPageSize});
}

Result<> read_gently(pid_t pid, const std::vector<Piece>& pieces) {
  if (pieces.empty()) return {};
  Fd memory = TRY(sys::open(strf("/proc/%d/mem", pid).c_str(), O_RDONLY));
  for (const Piece& piece : pieces) {
    TRY_WHILE(sys::pread_exact(memory, piece.to, piece.size, piece.address),
              "memory of process %d at %llx", pid, static_cast<unsigned long long>(piece.address));
  }
  return {};
}

// Reads what one call can, from pieces[first] on; returns bytes, 0 if that piece is behind
// PROT_NONE.
Result<uint64_t> read_some(pid_t pid, const std::vector<Piece>& pieces, size_t first) {
  constexpr size_t kMost = 64;
  iovec local[kMost], remote[kMost];
  size_t count = std::min(pieces.size() - first, kMost);
  for (size_t i = 0; i < count; i++) {
    const Piece& piece = pieces[first + i];
    local[i] = {piece.to, piece.size};
    remote[i] = {reinterpret_cast<void*>(piece.address), piece.size};
  }
  Result<ssize_t> got = SYSCALL(::process_vm_readv(pid, local, count, remote, count, 0),
                                "read memory of process %d", pid);
  if (!got.ok() && got.error().os_error() == EFAULT) return uint64_t{0};
  ssize_t bytes = TRY(std::move(got));
  return static_cast<uint64_t>(bytes);
}

Result<> read_fast(pid_t pid, std::vector<Piece> pieces) {
  std::vector<Piece> blocked;
  for (size_t first = 0; first < pieces.size();) {
    uint64_t bytes = TRY(read_some(pid, pieces, first));
    if (bytes == 0) {
      blocked.push_back(pieces[first++]);
      continue;
    }
    for (; first < pieces.size() && bytes >= pieces[first].size; first++) {
      bytes -= pieces[first].size;
    }
    if (bytes == 0) continue;
    Piece& broken = pieces[first];
    broken = {broken.address + bytes, broken.to + bytes, broken.size - bytes};
  }
  return read_gently(pid, blocked);
}

Result<> read_both_ways(pid_t pid, const RunSet& pages, char* to) {
  std::vector<Piece> single, several;
  Fd pagemap = TRY(open_pagemap(pid));
  TRY(read_entries(pagemap, pages, [&](uint64_t address, PageEntry entry) {
    append(entry.exclusive() ? &single : &several, address, to);
    to += kPageSize;
  }));
  TRY(read_fast(pid, std::move(single)));
  return read_gently(pid, several);
}

Result<> read_mapped_once(pid_t pid, const RunSet& pages, char* to) {
  std::vector<Piece> pieces;
  for (const AddressRun& run : pages) {
    pieces.push_back({run.start, to, run.pages * kPageSize});
    to += run.pages * kPageSize;
  }
  return read_fast(pid, std::move(pieces));
}

}  // namespace

Result<> read_pages(pid_t pid, const RunSet& pages, char* to, Mapped mapped) {
  Result<> done =
      mapped == Mapped::kOnce ? read_mapped_once(pid, pages, to) : read_both_ways(pid, pages, to);
  if (done.ok()) return {};
  int why = done.error().os_error();
  if (why == ESRCH || why == ENOENT) return Error::gone(strf("process %d is gone", pid));
  return done;
}

}  // namespace ncr
