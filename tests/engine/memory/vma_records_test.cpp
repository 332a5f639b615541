#include "engine/memory/vma_records.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "engine/base/ids.h"
#include "engine/memory/vma_record.h"

namespace ncr {
namespace {

std::string record(uint64_t flags, unsigned traits = 0, const std::string& name = "") {
  ncr_vma_record made{.start = 0x1000,
                      .end = 0x3000,
                      .flags = flags,
                      .offset = 5,
                      .inode = 12,
                      .device = 0xfe << 20 | 3,
                      .traits = static_cast<uint16_t>(traits),
                      .name_size = static_cast<uint16_t>(name.size())};
  return std::string(reinterpret_cast<const char*>(&made), sizeof made) + name;
}

std::optional<std::vector<VmaLine>> read(const std::string& bytes) {
  Result<std::optional<std::vector<VmaLine>>> lines = read_vma_records(bytes);
  EXPECT_TRUE(lines.ok());
  return lines.ok() ? lines.take() : std::nullopt;
}

VmaLine read_one(const std::string& bytes) {
  std::optional<std::vector<VmaLine>> lines = read(bytes);
  EXPECT_TRUE(lines.has_value() && lines->size() == 1);
  return lines.has_value() ? lines->front() : VmaLine();
}

TEST(vma_records, have_the_numbers_of_a_file_mapping) {
  const VmaLine line = read_one(record(0x75, NCR_VMA_FILE, "/usr/bin/a b"));
  EXPECT_EQ(line.vma.start(), 0x1000u);
  EXPECT_EQ(line.vma.end(), 0x3000u);
  EXPECT_EQ(line.vma.prot(), static_cast<uint32_t>(PROT_READ | PROT_EXEC));
  EXPECT_EQ(line.vma.kind(), schema::VMA_FILE_PRIVATE);
  EXPECT_EQ(line.vma.file_offset(), 5 * kPageSize);
  EXPECT_EQ(line.device, makedev(0xfe, 3));
  EXPECT_EQ(line.inode, 12u);
  EXPECT_EQ(line.path, "/usr/bin/a b");
  EXPECT_TRUE(line.may_write);
}

TEST(vma_records, tell_shared_from_private_as_smaps_do) {
  EXPECT_EQ(read_one(record(0xd1, NCR_VMA_FILE, "/a")).vma.kind(), schema::VMA_FILE_SHARED);
  EXPECT_EQ(read_one(record(0x73)).vma.kind(), schema::VMA_ANONYMOUS);
  EXPECT_EQ(read_one(record(0x73)).vma.file_offset(), 0u) << "of no file";
}

TEST(vma_records, have_given_names) {
  EXPECT_EQ(read_one(record(0x73, NCR_VMA_NAMED, "pool")).vma.name(), "pool");
  const VmaLine heap = read_one(record(0x73, NCR_VMA_NAMED | NCR_VMA_HEAP, "pool"));
  EXPECT_TRUE(heap.vma.heap());
  EXPECT_EQ(heap.vma.name(), "pool");
  const VmaLine shared = read_one(record(0xfb, NCR_VMA_NAMED_FILE, "pool"));
  EXPECT_EQ(shared.vma.kind(), schema::VMA_SHMEM);
  EXPECT_EQ(shared.vma.name(), "pool");
  EXPECT_EQ(shared.vma.file_offset(), 5 * kPageSize);
}

TEST(vma_records, of_mappings_with_flags_not_known_here_are_left_to_smaps) {
  for (int bit : {9, 11, 12, 22, 33, 42, 63})
    EXPECT_FALSE(read(record(0x73 | uint64_t{1} << bit)).has_value()) << bit;
  EXPECT_TRUE(read(record(0x75 | uint64_t{1} << 42, NCR_VMA_KERNELS, "[vdso]")).has_value());
  EXPECT_FALSE(read(record(0x75, NCR_VMA_KERNELS, "[uprobes]")).has_value());
  EXPECT_FALSE(read(record(0x73, NCR_VMA_UNCLEAR)).has_value());
}

TEST(vma_records, that_go_back_are_left_to_smaps) {
  EXPECT_FALSE(read(record(0x73) + record(0x73)).has_value());
}

TEST(vma_records, that_are_cut_are_refused) {
  const std::string bytes = record(0x75, NCR_VMA_FILE, "/usr/bin/cat");
  for (size_t size = 1; size < bytes.size(); size++)
    EXPECT_FALSE(read_vma_records(bytes.substr(0, size)).ok()) << size;
  std::string turned = bytes;
  std::memset(turned.data() + offsetof(ncr_vma_record, end), 0, sizeof(uint64_t));
  EXPECT_FALSE(read_vma_records(turned).ok());
}

}  // namespace
}  // namespace ncr
