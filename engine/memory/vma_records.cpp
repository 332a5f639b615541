// The numbers of flags are the kernel's own business and have changed; VmaIterator compares them
// with smaps before it relies on them.
#include "engine/memory/vma_records.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "engine/base/ids.h"
#include "engine/memory/vma_record.h"

namespace ncr {
namespace {

// include/linux/mm.h, 6.1 to 6.18.
constexpr uint64_t kRead = 0x1, kWrite = 0x2, kExec = 0x4;
constexpr uint64_t kMayShare = 0x80;  // VM_SHARED is off where the file is not open for writing

struct Mnemonic {
  uint64_t flag;
  char letters[4];
};
constexpr Mnemonic kMnemonics[] = {
    {0x20, "mw "},       {0x100, "gd "},      {0x400, "pf "},      {0x2000, "lo "},
    {0x4000, "io "},     {0x8000, "sr "},     {0x10000, "rr "},    {0x20000, "dc "},
    {0x80000, "lf "},    {0x200000, "nr "},   {0x2000000, "wf "},  {0x4000000, "dd "},
    {0x20000000, "hg "}, {0x40000000, "nh "}, {0x80000000, "mg "},
};
// Of no use to anyone here: shared, may read and execute, not expanding, accounted, syncing,
// attribute tables, soft-dirty, mixed with page frames.
constexpr uint64_t kOfNoUse =
    0x8 | 0x10 | 0x40 | 0x40000 | 0x100000 | 0x800000 | 0x1000000 | 0x8000000 | 0x10000000;

constexpr uint64_t known_flags() {
  uint64_t all = kRead | kWrite | kExec | kMayShare | kOfNoUse;
  for (const Mnemonic& mnemonic : kMnemonics) all |= mnemonic.flag;
  return all;
}

std::string mnemonics(uint64_t flags) {
  std::string text;  // short enough to need no memory
  for (const Mnemonic& mnemonic : kMnemonics)
    if ((flags & mnemonic.flag) != 0) text += mnemonic.letters;
  return text;
}

// What smaps would print behind the inode.
std::string printed_name(const ncr_vma_record& record, std::string_view name) {
  if ((record.traits & NCR_VMA_NAMED) != 0) return "[anon:" + std::string(name) + "]";
  if ((record.traits & NCR_VMA_NAMED_FILE) != 0) return "[anon_shmem:" + std::string(name) + "]";
  if ((record.traits & NCR_VMA_HEAP) != 0) return "[heap]";
  return std::string(name);
}

bool is_kernels(schema::VmaKind kind) {
  return kind == schema::VMA_VDSO || kind == schema::VMA_VVAR;
}

// Empty: ask smaps.
std::optional<VmaLine> read(const ncr_vma_record& record, std::string_view name) {
  VmaLine line;
  schema::Vma& vma = line.vma;
  vma.set_start(record.start);
  vma.set_end(record.end);
  const uint32_t prot = ((record.flags & kRead) != 0 ? PROT_READ : 0u) |
                        ((record.flags & kWrite) != 0 ? PROT_WRITE : 0u) |
                        ((record.flags & kExec) != 0 ? PROT_EXEC : 0u);
  if (prot != 0) vma.set_prot(prot);
  const bool shared = (record.flags & kMayShare) != 0;
  vma.set_kind(shared ? schema::VMA_FILE_SHARED : schema::VMA_FILE_PRIVATE);
  constexpr uint16_t kOfFile = NCR_VMA_FILE | NCR_VMA_NAMED_FILE;
  if ((record.traits & kOfFile) != 0 && record.offset != 0)
    vma.set_file_offset(record.offset * kPageSize);
  line.device = makedev(record.device >> 20, record.device & 0xfffff);
  line.inode = record.inode;
  line.perhaps_of_a_layer = (record.traits & NCR_VMA_FILE) != 0;
  classify_vma(printed_name(record, name), Newlines::kPlain, &line);
  const bool kernels = is_kernels(vma.kind());
  if ((record.traits & NCR_VMA_KERNELS) != 0 && !kernels) return {};
  if ((record.flags & ~known_flags()) != 0 && !kernels) return {};
  if ((record.traits & NCR_VMA_HEAP) != 0) vma.set_heap(true);
  apply_vm_flags(mnemonics(record.flags), &line);
  return line;
}

}  // namespace

Result<std::optional<std::vector<VmaLine>>> read_vma_records(std::string_view bytes) {
  constexpr size_t kUsual = sizeof(ncr_vma_record) + 40;
  std::vector<VmaLine> lines;
  lines.reserve(bytes.size() / kUsual + 1);
  uint64_t seen_up_to = 0;
  while (!bytes.empty()) {
    ncr_vma_record record;
    if (bytes.size() < sizeof record) return Error::malformed("a record of a VMA is cut");
    std::memcpy(&record, bytes.data(), sizeof record);
    bytes.remove_prefix(sizeof record);
    if (record.name_size > bytes.size() || record.start >= record.end)
      return Error::malformed(strf("the record of the VMA at %llx is damaged",
                                   static_cast<unsigned long long>(record.start)));
    // An iterator that went back tells something twice.
    if (record.start < seen_up_to) return std::optional<std::vector<VmaLine>>();
    seen_up_to = record.end;
    if ((record.traits & NCR_VMA_UNCLEAR) != 0) return std::optional<std::vector<VmaLine>>();
    std::optional<VmaLine> line = read(record, bytes.substr(0, record.name_size));
    if (!line) return std::optional<std::vector<VmaLine>>();
    lines.push_back(std::move(*line));
    bytes.remove_prefix(record.name_size);
  }
  return std::optional(std::move(lines));
}

}  // namespace ncr
