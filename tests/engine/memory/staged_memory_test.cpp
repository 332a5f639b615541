// Memory is staged in forked children of the test, as in a restore; what they find wrong is their
// exit status and their output.
#include "engine/memory/staged_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "engine/base/ids.h"
#include "engine/memory/address_ranges.h"

namespace ncr {
namespace {

constexpr uint64_t kBase = 0x10000000;

struct Family {
  Image image;
  Fd file;  // id 1: every byte 'f'
  schema::Task& parent() { return image.tasks[0]; }
  schema::Task& child() { return image.tasks[1]; }
};

Fd filled_file(unsigned pages, const std::function<char(unsigned)>& byte) {
  Fd fd(::memfd_create("file", MFD_CLOEXEC));
  for (unsigned i = 0; i < pages; i++) {
    std::string page(kPageSize, byte(i));
    EXPECT_EQ(::write(fd.get(), page.data(), page.size()), static_cast<ssize_t>(page.size()));
  }
  return fd;
}

Family family() {
  Family family;
  family.image.tasks.resize(2);
  family.parent().set_pid(1);
  family.child().set_pid(2);
  family.image.pages = filled_file(32, [](unsigned i) { return static_cast<char>('A' + i); });
  family.file = filled_file(8, [](unsigned) { return 'f'; });
  return family;
}

uint64_t page(uint64_t number) { return kBase + number * kPageSize; }

schema::Vma& add_vma(schema::Task& task, uint64_t first, uint64_t end, int prot) {
  schema::Vma* vma = task.mutable_memory()->add_vmas();
  vma->set_start(page(first));
  vma->set_end(page(end));
  vma->set_prot(static_cast<uint32_t>(prot));
  return *vma;
}

void add_run(Family& family, int pid, uint64_t first, uint64_t pages, uint64_t place) {
  schema::PageRun* run = family.image.task_pages[pid].add_runs();
  run->set_start(page(first));
  run->set_pages(pages);
  run->set_stored(place * kPageSize);
}

class Staged {
 public:
  Staged(Family& family, const SharedMemoryObjects& shared)
      : family_(family), shared_(shared), shift_(choose_shift(family.image).take()) {}
  void stage(const schema::Task& task, const schema::Task* parent) {
    Result<> result =
        StagedMemory::stage({family_.image, task, parent, shift_, shared_, 2},
                            [this](uint32_t) -> Result<int> { return family_.file.get(); });
    ASSERT_TRUE(result.ok()) << result.error().text();
  }
  char* at(uint64_t number) const {
    return reinterpret_cast<char*>(staged_address(page(number), shift_));
  }
  // Physical page, 0 if none is there.
  uint64_t frame(uint64_t number) const {
    Fd map = sys::open("/proc/self/pagemap", O_RDONLY).take();
    uint64_t entry = 0;
    EXPECT_TRUE(sys::pread_exact(map, &entry, sizeof entry,
                                 reinterpret_cast<uint64_t>(at(number)) / kPageSize * sizeof entry)
                    .ok());
    return (entry >> 63) != 0 ? entry & ((1ull << 55) - 1) : 0;
  }
  std::string smaps(uint64_t number) const {
    std::string all = sys::read_file("/proc/self/smaps").take();
    const std::string start = strf("%lx-", reinterpret_cast<unsigned long>(at(number)));
    const size_t from = all.find(start);
    if (from == std::string::npos) return "";
    return all.substr(from, all.find("VmFlags", from) + 80 - from);
  }

 private:
  Family& family_;
  const SharedMemoryObjects& shared_;
  uint64_t shift_;
};

void in_child(const std::function<void()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) {
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(StagedMemory, every_kind_of_mapping_has_its_content) {
  Family family = ncr::family();
  schema::Task& task = family.parent();
  add_vma(task, 0, 4, PROT_READ | PROT_WRITE);
  add_run(family, 1, 1, 2, 0);
  schema::Vma& text = add_vma(task, 10, 14, PROT_READ | PROT_EXEC);
  text.set_kind(schema::VMA_FILE_PRIVATE);
  text.set_file_id(1);
  add_run(family, 1, 11, 1, 5);
  schema::PageRun* zero = family.image.task_pages[1].add_runs();
  zero->set_start(page(12));
  zero->set_pages(1);
  zero->set_zero(true);
  schema::Vma& shared_file = add_vma(task, 20, 22, PROT_READ | PROT_WRITE);
  shared_file.set_kind(schema::VMA_FILE_SHARED);
  shared_file.set_file_id(1);
  shared_file.set_file_offset(4 * kPageSize);
  schema::Vma& shmem = add_vma(task, 30, 32, PROT_READ);
  shmem.set_kind(schema::VMA_SHMEM);
  shmem.set_shmem_id(9);
  schema::SharedMemory& object = family.image.shared_memory.emplace_back();
  object.set_id(9);
  object.set_size(2 * kPageSize);
  schema::PageRun* run = family.image.shmem_pages[9].add_runs();
  run->set_start(kPageSize);
  run->set_pages(1);
  run->set_stored(7 * kPageSize);
  SharedMemoryObjects shared = SharedMemoryObjects::create(family.image, 300, 1).take();
  Staged staged(family, shared);
  in_child([&] {
    staged.stage(task, nullptr);
    EXPECT_EQ(*staged.at(0), 0);
    EXPECT_EQ(*staged.at(1), 'A');
    EXPECT_EQ(*staged.at(2), 'B');
    EXPECT_EQ(staged.frame(3), 0u) << "a page that the image lacks is not made";
    EXPECT_EQ(*staged.at(10), 'f');
    EXPECT_EQ(*staged.at(11), 'F');
    EXPECT_EQ(*staged.at(12), 0);
    EXPECT_EQ(*staged.at(13), 'f');
    EXPECT_EQ(*staged.at(31), 'H');
    *staged.at(20) = 'w';
  });
  char written = 0;
  EXPECT_EQ(::pread(family.file.get(), &written, 1, 4 * static_cast<long>(kPageSize)), 1);
  EXPECT_EQ(written, 'w');
}

TEST(StagedMemory, advice_guards_and_names_are_set) {
  Family family = ncr::family();
  schema::Vma& vma = add_vma(family.parent(), 0, 8, PROT_READ | PROT_WRITE);
  vma.add_advice(MADV_DONTDUMP);
  vma.add_advice(MADV_WIPEONFORK);
  vma.set_name("arena");
  schema::GuardRange* guard = vma.add_guards();
  guard->set_start(page(0));
  guard->set_end(page(1));
  schema::Vma& reserve = add_vma(family.parent(), 10, 10 + (1 << 22), PROT_NONE);
  reserve.set_no_reserve(true);
  add_run(family, 1, 1, 1, 3);
  SharedMemoryObjects shared;
  Staged staged(family, shared);
  in_child([&] {
    staged.stage(family.parent(), nullptr);
    EXPECT_EQ(*staged.at(1), 'D');
    EXPECT_NE(staged.smaps(0).find(" dd "), std::string::npos) << staged.smaps(0);
    EXPECT_NE(staged.smaps(0).find(" wf "), std::string::npos) << staged.smaps(0);
    EXPECT_NE(staged.smaps(10).find(" nr "), std::string::npos) << staged.smaps(10);
    EXPECT_NE(staged.smaps(10).find("---p"), std::string::npos) << staged.smaps(10);
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    EXPECT_EQ(::write(pipe[1], staged.at(1), 1), 1);
    EXPECT_EQ(::write(pipe[1], staged.at(0), 1), -1) << "the guard page can be read";
  });
}

TEST(StagedMemory, a_child_shares_what_did_not_change_and_has_its_own_rest) {
  Family family = ncr::family();
  add_vma(family.parent(), 0, 8, PROT_READ | PROT_WRITE);
  add_run(family, 1, 0, 8, 0);
  add_vma(family.parent(), 100, 104, PROT_READ);
  add_vma(family.child(), 0, 12, PROT_READ);
  add_run(family, 2, 0, 3, 0);
  add_run(family, 2, 4, 1, 20);
  add_run(family, 2, 5, 1, 5);
  add_run(family, 2, 10, 1, 21);
  SharedMemoryObjects shared;
  Staged staged(family, shared);
  in_child([&] {
    staged.stage(family.parent(), nullptr);
    std::vector<uint64_t> frames;
    for (uint64_t i = 0; i < 8; i++) frames.push_back(staged.frame(i));
    in_child([&] {
      staged.stage(family.child(), &family.parent());
      for (uint64_t i : {0, 1, 2, 5}) {
        EXPECT_EQ(*staged.at(i), static_cast<char>('A' + i));
        EXPECT_EQ(staged.frame(i), frames[i]) << "page " << i << " is a copy";
      }
      EXPECT_EQ(*staged.at(4), static_cast<char>('A' + 20));
      EXPECT_EQ(staged.frame(6), 0u);
      EXPECT_EQ(*staged.at(3), 0);
      EXPECT_EQ(*staged.at(10), static_cast<char>('A' + 21));
      EXPECT_EQ(staged.smaps(100), "");
      std::string line = staged.smaps(0);
      EXPECT_NE(line.find(strf("-%lx r--p", reinterpret_cast<unsigned long>(staged.at(12)))),
                std::string::npos)
          << "not one read-only mapping: " << line;
    });
    EXPECT_EQ(*staged.at(4), 'E') << "the child wrote into its parent's page";
  });
}

TEST(StagedMemory, a_task_in_another_ones_address_space_is_refused) {
  Family family = ncr::family();
  family.child().mutable_memory()->set_shared_with(1);
  SharedMemoryObjects shared;
  Result<> staged =
      StagedMemory::stage({family.image, family.child(), nullptr, 1ull << 40, shared, 1},
                          [](uint32_t) -> Result<int> { return -1; });
  EXPECT_EQ(staged.error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace ncr
