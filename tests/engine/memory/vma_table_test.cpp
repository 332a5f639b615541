#include "engine/memory/vma_table.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr {
namespace {

// One VMA as smaps prints it: the header, a few of its lines, the flags.
std::string entry(const std::string& header, const std::string& flags = "rd wr mr mw me ac ") {
  return header + "\nSize:                132 kB\nKernelPageSize:        4 kB\nRss:    16 kB\n" +
         "THPeligible:    0\nVmFlags: " + flags + "\n";
}

VmaLine parse_one(const std::string& text) {
  Result<std::vector<VmaLine>> lines = parse_smaps(text);
  EXPECT_TRUE(lines.ok()) << (lines.ok() ? "" : lines.error().text());
  if (!lines.ok() || lines.value().size() != 1) {
    ADD_FAILURE() << "expected one VMA";
    return {};
  }
  return lines.value()[0];
}

VmaLine named(const std::string& name, const char* permissions = "rw-p") {
  return parse_one(entry(strf("7f0000000000-7f0000021000 %s 00003000 00:01 1026       %s",
                              permissions, name.c_str())));
}

std::vector<uint32_t> advice_of(const std::string& flags) {
  VmaLine line = parse_one(entry("1000-2000 rw-p 00000000 00:00 0 ", flags));
  return {line.vma.advice().begin(), line.vma.advice().end()};
}

TEST(vma_table, reads_the_numbers_of_a_file_mapping) {
  VmaLine line = parse_one(entry(
      "55d0c0000000-55d0c0021000 r-xp 00002000 fe:00 247134                     /usr/bin/cat"));
  EXPECT_EQ(line.vma.start(), 0x55d0c0000000u);
  EXPECT_EQ(line.vma.end(), 0x55d0c0021000u);
  EXPECT_EQ(line.vma.prot(), static_cast<uint32_t>(PROT_READ | PROT_EXEC));
  EXPECT_EQ(line.vma.kind(), schema::VMA_FILE_PRIVATE);
  EXPECT_EQ(line.vma.file_offset(), 0x2000u);
  EXPECT_EQ(line.device, makedev(0xfe, 0));
  EXPECT_EQ(line.inode, 247134u);
  EXPECT_EQ(line.path, "/usr/bin/cat");
  EXPECT_FALSE(line.deleted);
  EXPECT_TRUE(line.unsupported.empty());
}

TEST(vma_table, tells_anonymous_memory_by_its_missing_name) {
  VmaLine line = parse_one(entry("7f0000000000-7f0000021000 ---p 00000000 00:00 0 "));
  EXPECT_EQ(line.vma.kind(), schema::VMA_ANONYMOUS);
  EXPECT_EQ(line.vma.prot(), 0u);
  EXPECT_EQ(line.path, "");
}

TEST(vma_table, knows_the_names_the_kernel_gives) {
  EXPECT_TRUE(named("[heap]").vma.heap());
  EXPECT_EQ(named("[heap]").vma.kind(), schema::VMA_ANONYMOUS);
  EXPECT_EQ(named("[stack]").vma.kind(), schema::VMA_ANONYMOUS);
  EXPECT_EQ(named("[vdso]").vma.kind(), schema::VMA_VDSO);
  EXPECT_EQ(named("[vvar]").vma.kind(), schema::VMA_VVAR);
  EXPECT_EQ(named("[vvar_vclock]").vma.kind(), schema::VMA_VVAR);
  EXPECT_EQ(named("[vsyscall]", "--xp").vma.kind(), schema::VMA_VSYSCALL);
  EXPECT_EQ(named("[anon:glibc: malloc]").vma.name(), "glibc: malloc");
  EXPECT_EQ(named("[anon:]").vma.name(), "");
  EXPECT_EQ(named("[anon_shmem:ring]", "rw-s").vma.name(), "ring");
  EXPECT_EQ(named("[anon_shmem:ring]", "rw-s").vma.kind(), schema::VMA_SHMEM);
  EXPECT_NE(named("[uprobes]").unsupported, "");
}

TEST(vma_table, knows_the_objects_of_the_kernels_own_tmpfs) {
  EXPECT_EQ(named("/dev/zero (deleted)", "rw-s").vma.kind(), schema::VMA_SHMEM);
  EXPECT_EQ(named("/dev/zero", "rw-p").vma.kind(), schema::VMA_ANONYMOUS);
  VmaLine memfd = named("/memfd:a b (deleted)", "rw-s");
  EXPECT_EQ(memfd.vma.kind(), schema::VMA_SHMEM);
  EXPECT_EQ(memfd.path, "/memfd:a b");
  EXPECT_TRUE(memfd.deleted);
  EXPECT_EQ(memfd.vma.file_offset(), 0x3000u);
  EXPECT_EQ(named("/memfd:x (deleted)", "rw-p").vma.kind(), schema::VMA_FILE_PRIVATE);
  EXPECT_EQ(named("/SYSV00000000 (deleted)", "rw-s").vma.kind(), schema::VMA_SYSV);
  EXPECT_EQ(named("/anon_hugepage (deleted)").vma.kind(), schema::VMA_ANONYMOUS);
  EXPECT_EQ(named("/anon_hugepage (deleted)", "rw-s").vma.kind(), schema::VMA_SHMEM);
  EXPECT_EQ(named("/[aio] (deleted)", "rw-s").vma.kind(), schema::VMA_AIO);
  EXPECT_NE(named("anon_inode:[io_uring]", "rw-s").unsupported, "");
}

TEST(vma_table, takes_a_file_on_a_disk_for_what_it_is_whatever_its_name) {
  VmaLine line = parse_one(entry("1000-2000 rw-s 00000000 fe:00 12   /memfd:not one (deleted)"));
  EXPECT_EQ(line.vma.kind(), schema::VMA_FILE_SHARED);
  EXPECT_TRUE(line.deleted);
}

TEST(vma_table, reads_names_with_spaces_and_newlines) {
  EXPECT_EQ(named("/tmp/a  b c").path, "/tmp/a  b c");
  EXPECT_EQ(named("/tmp/a\\012b\\012").path, "/tmp/a\nb\n");
  VmaLine line = named("/tmp/x (deleted) (deleted)");
  EXPECT_EQ(line.path, "/tmp/x (deleted)");
  EXPECT_TRUE(line.deleted);
}

TEST(vma_table, turns_flags_into_advice) {
  EXPECT_EQ(advice_of("rd wr mr mw me dc ac "), std::vector<uint32_t>{MADV_DONTFORK});
  EXPECT_EQ(advice_of("wf "), std::vector<uint32_t>{MADV_WIPEONFORK});
  EXPECT_EQ(advice_of("hg"), std::vector<uint32_t>{MADV_HUGEPAGE});
  EXPECT_EQ(advice_of("nh"), std::vector<uint32_t>{MADV_NOHUGEPAGE});
  EXPECT_EQ(advice_of("mg"), std::vector<uint32_t>{MADV_MERGEABLE});
  EXPECT_EQ(advice_of("dd"), std::vector<uint32_t>{MADV_DONTDUMP});
  EXPECT_EQ(advice_of("sr"), std::vector<uint32_t>{MADV_SEQUENTIAL});
  EXPECT_EQ(advice_of("rr"), std::vector<uint32_t>{MADV_RANDOM});
  EXPECT_EQ(advice_of("rd ex mr mw me ?? dc rr").size(), 2u);
  EXPECT_EQ(advice_of("").size(), 0u);
}

TEST(vma_table, turns_flags_into_properties) {
  auto with = [](const char* flags) {
    return parse_one(entry("1000-2000 rw-p 00000000 00:00 0 ", flags));
  };
  EXPECT_TRUE(with("rd gd ").vma.grows_down());
  EXPECT_EQ(with("rd lo ").vma.lock(), 1u);
  EXPECT_EQ(with("rd lo lf ac ").vma.lock(), 2u);
  EXPECT_EQ(with("rd ?? lo ac ").vma.lock(), 2u);
  EXPECT_EQ(with("rd ?? ac ").vma.lock(), 0u);
  EXPECT_TRUE(with("nr ").vma.no_reserve());
  EXPECT_TRUE(with("dp ").vma.droppable());
  EXPECT_TRUE(with("pf io ").unsupported_io);
  for (const char* flags : {"pf ", "io ", "um ", "uw ", "ui ", "ss ", "sl "}) {
    EXPECT_NE(with(flags).unsupported, "") << flags;
  }
}

TEST(vma_table, reads_the_size_of_pages_from_a_pool) {
  const std::string header =
      "7f0000000000-7f0000400000 rw-p 00000000 00:0f 7  /anon_hugepage (deleted)";
  const std::string plain = entry("1000-2000 rw-p 00000000 00:00 0 ");
  const std::string sized =
      header + "\nSize: 4096 kB\nKernelPageSize:     2048 kB\nVmFlags: rd ht \n";
  Result<std::vector<VmaLine>> lines = parse_smaps(plain + sized + plain);
  ASSERT_TRUE(lines.ok());
  ASSERT_EQ(lines.value().size(), 3u);
  EXPECT_EQ(lines.value()[0].vma.huge_page_shift(), 0u);
  EXPECT_EQ(lines.value()[1].vma.huge_page_shift(), 21u);
  EXPECT_EQ(lines.value()[2].vma.huge_page_shift(), 0u);
  EXPECT_FALSE(parse_smaps(header + "\nVmFlags: ht \n").ok()) << "without a size";
}

TEST(vma_table, takes_the_special_mappings_as_handled_though_they_are_device_memory) {
  VmaLine vvar = parse_one(
      entry("7ffff7fbd000-7ffff7fc1000 r--p 00000000 00:00 0   [vvar]", "rd mr pf io de dd sl "));
  EXPECT_FALSE(vvar.unsupported_io);
  EXPECT_EQ(vvar.unsupported, "");
}

TEST(vma_table, refuses_lines_it_cannot_read_and_names_them) {
  for (const char* bad :
       {"zzz", "1000-1000 rw-p 00000000 00:00 0 ", "2000-1000 rw-p 00000000 00:00 0 ", "1000-2000",
        "1000-2000 rw", "1000-2000 rw-x 00000000 00:00 0 ", "1000-2000 rw-p 00000000 0000 0 ",
        "1000-2000 rw-p 00000000 00:00 ", "Size: 4 kB", "11111111111111111-2 rw-p 0 00:00 0",
        "\n\n"}) {
    Result<std::vector<VmaLine>> lines = parse_smaps(bad);
    ASSERT_FALSE(lines.ok()) << bad;
    EXPECT_EQ(lines.error().code(), ErrorCode::kMalformed);
  }
}

TEST(vma_table, reads_any_prefix_of_a_good_text_without_harm) {
  std::string text =
      entry("7f0000000000-7f0000021000 rw-p 00003000 00:01 1026   /a\\012b (deleted)") +
      entry("7f0000021000-7f0000022000 rw-p 00000000 00:00 0      [anon:x]", "rd lo");
  for (size_t size = 0; size <= text.size(); size++) {
    (void)parse_smaps(std::string(text.data(), size)).ok();
  }
}

TEST(vma_table, reads_this_process_and_agrees_with_its_own_mappings) {
  void* made = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(made, MAP_FAILED);
  ASSERT_EQ(::mprotect(made, 4096, PROT_NONE), 0);
  ASSERT_EQ(::madvise(made, 4096, MADV_DONTFORK), 0);
  Result<std::string> text = sys::read_file("/proc/self/smaps");
  ASSERT_TRUE(text.ok());
  Result<std::vector<VmaLine>> lines = parse_smaps(text.value());
  ASSERT_TRUE(lines.ok()) << lines.error().text();
  uint64_t before = 0;
  bool heap = false, stack = false, found = false;
  for (const VmaLine& line : lines.value()) {
    EXPECT_GE(line.vma.start(), before);
    before = line.vma.end();
    heap |= line.vma.heap();
    stack |= line.vma.grows_down();
    EXPECT_EQ(line.unsupported, "") << line.path;
    if (line.vma.start() != reinterpret_cast<uint64_t>(made)) continue;
    found = true;
    EXPECT_EQ(line.vma.end() - line.vma.start(), 4096u);
    EXPECT_EQ(line.vma.prot(), 0u);
    EXPECT_TRUE(line.vma.no_reserve());
    ASSERT_EQ(line.vma.advice_size(), 1);
    EXPECT_EQ(line.vma.advice(0), static_cast<uint32_t>(MADV_DONTFORK));
  }
  EXPECT_TRUE(heap);
  EXPECT_TRUE(stack);
  EXPECT_TRUE(found);
  ::munmap(made, 1 << 20);
}

}  // namespace
}  // namespace ncr
