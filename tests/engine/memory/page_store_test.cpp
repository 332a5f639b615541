#include "engine/memory/page_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <random>

#include "engine/image/page_check.h"
#include "tests/engine/image/sample_image.h"
#include "tests/engine/memory/target_process.h"

namespace ncr {
namespace {

// A page store in a scratch directory, and what it wrote.
class Stored {
 public:
  explicit Stored(unsigned threads = 2, uint64_t staging_bytes = 0) {
    Result<ImageDir> images = ImageDir::create(scratch_.path());
    EXPECT_TRUE(images.ok());
    images_ = std::make_unique<ImageDir>(images.take());
    Result<PageStore> store = PageStore::create(
        *images_, {.threads = threads, .staging_bytes = staging_bytes, .output = {}, .remote = {}});
    EXPECT_TRUE(store.ok());
    store_ = std::make_unique<PageStore>(store.take());
  }

  PageStore& store() { return *store_; }
  Result<> add_task(pid_t pid, schema::Memory memory, schema::PageMap* map) {
    return store_->add_task(pid, &memory, map);
  }

  void finish() {
    Result<> read = store_->read_all();
    ASSERT_TRUE(read.ok()) << read.error().text();
    Result<schema::ChunkTable> chunks = store_->finish();
    ASSERT_TRUE(chunks.ok()) << chunks.error().text();
    bytes_ = get_file(scratch_.path() + "/" + kPagesFile);
    ASSERT_TRUE(check_chunk_table(chunks.value(), bytes_.size()).ok());
    Result<Fd> pages = sys::open((scratch_.path() + "/" + kPagesFile).c_str(), O_RDONLY);
    ASSERT_TRUE(verify_chunks(pages.value(), chunks.value()).ok());
  }

  uint64_t size() const { return bytes_.size(); }

  // Content by page address; zero runs as empty strings.
  std::map<uint64_t, std::string> pages(const schema::PageMap& map) const {
    std::map<uint64_t, std::string> pages;
    uint64_t before = 0;
    for (const schema::PageRun& run : map.runs()) {
      EXPECT_GE(run.start(), before);
      before = run.start() + run.pages() * kPageSize;
      for (uint64_t i = 0; i < run.pages(); i++) {
        std::string& page = pages[run.start() + i * kPageSize];
        if (run.has_stored()) page = bytes_.substr(run.stored() + i * kPageSize, kPageSize);
      }
    }
    return pages;
  }

 private:
  ScratchDir scratch_;
  std::unique_ptr<ImageDir> images_;
  std::unique_ptr<PageStore> store_;
  std::string bytes_;
};

// A private mapping that the targets inherit, and its address.
struct Area {
  explicit Area(uint64_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS)
      : size(pages * kPageSize),
        at(static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0))) {
    EXPECT_NE(at, MAP_FAILED);
    ::madvise(at, size, MADV_NOHUGEPAGE);
  }
  ~Area() { ::munmap(at, size); }
  uint64_t start() const { return reinterpret_cast<uint64_t>(at); }
  uint64_t end() const { return start() + size; }
  void fill_page(uint64_t page, char c) { std::memset(at + page * kPageSize, c, kPageSize); }

  uint64_t size;
  char* at;
};

TEST(page_store, keeps_what_was_written_and_leaves_out_what_never_was) {
  Area area(100);
  TargetProcess target([&] {
    for (uint64_t page : {3, 4, 5, 50, 99}) area.fill_page(page, static_cast<char>('a' + page % 7));
    area.fill_page(20, 0);
    volatile char untouched = area.at[30 * kPageSize];  // the shared zero page
    (void)untouched;
  });
  Stored stored;
  schema::PageMap map;
  ASSERT_TRUE(stored.add_task(target.pid(), target.memory(area.start(), area.end()), &map).ok());
  stored.finish();
  EXPECT_EQ(map.pid(), target.pid());
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), 6u);
  for (uint64_t page : {3, 4, 5, 50, 99}) {
    EXPECT_EQ(pages.at(area.start() + page * kPageSize),
              std::string(kPageSize, static_cast<char>('a' + page % 7)));
  }
  EXPECT_EQ(pages.at(area.start() + 20 * kPageSize), "");
  EXPECT_EQ(stored.size(), 5 * kPageSize);
  EXPECT_EQ(stored.store().stats().pages_written, 5u);
  EXPECT_EQ(stored.store().stats().pages_zero, 1u);
  EXPECT_EQ(stored.store().stats().pages_scanned, 6u);
}

TEST(page_store, keeps_pages_until_the_target_has_gone_on_and_writes_the_others_at_once) {
  constexpr uint64_t kPages = 2000;
  Area area(kPages);
  Stored stored(2, 4 << 20);
  schema::PageMap map;
  {
    TargetProcess target([&] {
      for (uint64_t i = 0; i < kPages; i++) area.fill_page(i, static_cast<char>(1 + i % 100));
    });
    ASSERT_TRUE(stored.add_task(target.pid(), target.memory(area.start(), area.end()), &map).ok());
    ASSERT_TRUE(stored.store().read_all().ok());
  }
  stored.finish();
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), kPages);
  for (uint64_t i = 0; i < kPages; i++)
    EXPECT_EQ(pages.at(area.start() + i * kPageSize),
              std::string(kPageSize, static_cast<char>(1 + i % 100)));
}

TEST(page_store, copies_much_memory_with_several_threads) {
  constexpr uint64_t kPages = 6000;
  Area area(kPages);
  std::mt19937_64 random(1);
  std::vector<uint64_t> seeds(kPages);
  for (uint64_t i = 0; i < kPages; i++) {
    seeds[i] = i % 11 == 0 ? 0 : random();
    if (seeds[i] != 0) std::memcpy(area.at + i * kPageSize + (i % 500) * 8, &seeds[i], 8);
  }
  TargetProcess target([&] {
    for (uint64_t i = 0; i < kPages; i++) area.at[i * kPageSize + 4095] = 0;
  });
  Stored stored(3);
  schema::PageMap map;
  ASSERT_TRUE(stored.add_task(target.pid(), target.memory(area.start(), area.end()), &map).ok());
  stored.finish();
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), kPages);
  for (uint64_t i = 0; i < kPages; i++) {
    const std::string& page = pages.at(area.start() + i * kPageSize);
    ASSERT_EQ(page.empty(), seeds[i] == 0) << i;
    if (!page.empty()) {
      ASSERT_EQ(std::memcmp(page.data(), area.at + i * kPageSize, kPageSize), 0) << i;
    }
  }
}

TEST(page_store, reads_pages_behind_prot_none) {
  Area area(40);
  TargetProcess target([&] {
    for (uint64_t page = 0; page < 40; page++) area.fill_page(page, static_cast<char>('A' + page));
    ::mprotect(area.at + 10 * kPageSize, 5 * kPageSize, PROT_NONE);
    ::mprotect(area.at + 39 * kPageSize, kPageSize, PROT_NONE);
    ::mprotect(area.at, kPageSize, PROT_NONE);
  });
  Stored stored;
  schema::PageMap map;
  Result<> added = stored.add_task(target.pid(), target.memory(area.start(), area.end()), &map);
  ASSERT_TRUE(added.ok()) << added.error().text();
  stored.finish();
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), 40u);
  for (uint64_t page = 0; page < 40; page++) {
    EXPECT_EQ(pages.at(area.start() + page * kPageSize),
              std::string(kPageSize, static_cast<char>('A' + page)));
  }
}

TEST(page_store, keeps_only_copied_pages_of_a_private_file_mapping) {
  ScratchDir scratch;
  put_file(scratch.path() + "/file", std::string(8 * kPageSize, 'f'));
  Result<Fd> file = sys::open((scratch.path() + "/file").c_str(), O_RDONLY);
  ASSERT_TRUE(file.ok());
  char* at = static_cast<char*>(
      ::mmap(nullptr, 8 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.value().get(), 0));
  ASSERT_NE(at, MAP_FAILED);
  TargetProcess target([&] {
    for (int i = 0; i < 8; i++) {
      volatile char read = at[i * 4096];
      (void)read;
    }
    at[2 * kPageSize] = 'x';
    std::memset(at + 3 * kPageSize, 0, kPageSize);
  });
  Stored stored;
  schema::PageMap map;
  uint64_t start = reinterpret_cast<uint64_t>(at);
  ASSERT_TRUE(
      stored.add_task(target.pid(), target.memory(start, start + 8 * kPageSize), &map).ok());
  stored.finish();
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_EQ(pages.at(start + 2 * kPageSize)[0], 'x');
  EXPECT_EQ(pages.at(start + 2 * kPageSize)[1], 'f');
  EXPECT_EQ(pages.at(start + 3 * kPageSize), "") << "a zeroed copy hides the file's bytes";
  ::munmap(at, 8 * kPageSize);
}

TEST(page_store, takes_shared_memory_with_its_holes_and_its_broken_last_page) {
  Fd object(::memfd_create("object", MFD_CLOEXEC));
  uint64_t size = 300 * kPageSize + 100;
  ASSERT_EQ(::ftruncate(object.get(), static_cast<off_t>(size)), 0);
  ASSERT_TRUE(sys::pwrite_all(object, "start", 5, 0).ok());
  ASSERT_TRUE(sys::pwrite_all(object, "middle", 6, 100 * kPageSize + 4).ok());
  ASSERT_TRUE(sys::pwrite_all(object, "end", 3, 300 * kPageSize + 50).ok());
  ASSERT_EQ(::lseek(object.get(), 77, SEEK_SET), 77);
  Stored stored;
  schema::PageMap map;
  Result<> added = stored.store().add_shared_memory(object, size, &map);
  ASSERT_TRUE(added.ok()) << added.error().text();
  stored.finish();
  EXPECT_EQ(::lseek(object.get(), 0, SEEK_CUR), 77) << "the position is the target's";
  std::map<uint64_t, std::string> pages = stored.pages(map);
  ASSERT_EQ(pages.size(), 3u);
  EXPECT_EQ(pages.at(0).substr(0, 5), "start");
  EXPECT_EQ(pages.at(100 * kPageSize).substr(4, 6), "middle");
  EXPECT_EQ(pages.at(300 * kPageSize).substr(50, 3), "end");
  EXPECT_EQ(pages.at(300 * kPageSize).substr(53), std::string(kPageSize - 53, '\0'));
}

TEST(page_store, keeps_pages_shared_by_fork_once) {
  constexpr uint64_t kPages = 200;
  Area area(kPages);
  for (uint64_t i = 0; i < kPages; i++) area.fill_page(i, static_cast<char>('a' + i % 20));
  area.fill_page(7, 0);
  std::vector<std::unique_ptr<TargetProcess>> targets;
  for (char t = 0; t < 5; t++) {
    targets.push_back(std::make_unique<TargetProcess>([&] {
      if (t > 0) area.fill_page(static_cast<uint64_t>(t) * 10, static_cast<char>('0' + t));
    }));
  }
  Stored stored;
  std::vector<schema::PageMap> maps(targets.size());
  for (size_t t = 0; t < targets.size(); t++) {
    ASSERT_TRUE(
        stored.add_task(targets[t]->pid(), targets[t]->memory(area.start(), area.end()), &maps[t])
            .ok());
  }
  stored.finish();
  EXPECT_EQ(stored.size(), (kPages - 1 + 4) * kPageSize);
  EXPECT_EQ(stored.store().stats().pages_shared, 4 * (kPages - 1));
  for (size_t t = 0; t < targets.size(); t++) {
    std::map<uint64_t, std::string> pages = stored.pages(maps[t]);
    ASSERT_EQ(pages.size(), kPages);
    for (uint64_t i = 0; i < kPages; i++) {
      char want =
          t > 0 && i == t * 10 ? static_cast<char>('0' + t) : static_cast<char>('a' + i % 20);
      std::string content = i == 7 ? "" : std::string(kPageSize, want);
      ASSERT_EQ(pages.at(area.start() + i * kPageSize), content) << t << " " << i;
    }
  }
}

// A frame that moved between two looks may have been given to another page meanwhile.
TEST(page_store, does_not_believe_in_page_frames_that_moved) {
  constexpr uint64_t kPages = 50;
  Area area(kPages);
  for (uint64_t i = 0; i < kPages; i++) area.fill_page(i, static_cast<char>('a' + i % 20));
  TargetProcess one, two;
  Stored stored(1);
  schema::PageMap first, second;
  ASSERT_TRUE(stored.add_task(one.pid(), one.memory(area.start(), area.end()), &first).ok());
  ASSERT_TRUE(stored.add_task(two.pid(), two.memory(area.start(), area.end()), &second).ok());
  // A write from outside breaks the sharing as a write of its own would.
  Result<Fd> memory = sys::open(strf("/proc/%d/mem", one.pid()).c_str(), O_RDWR);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(sys::pwrite_all(memory.value(), "moved", 5, area.start() + 20 * kPageSize).ok());
  for (uint64_t i = 30; i < 40; i++) {
    ASSERT_TRUE(sys::pwrite_all(memory.value(), "moved", 5, area.start() + i * kPageSize).ok());
  }
  stored.finish();
  std::map<uint64_t, std::string> pages = stored.pages(second);
  ASSERT_EQ(pages.size(), kPages);
  for (uint64_t i = 0; i < kPages; i++) {
    ASSERT_EQ(pages.at(area.start() + i * kPageSize),
              std::string(kPageSize, static_cast<char>('a' + i % 20)));
  }
  EXPECT_EQ(stored.size(), (kPages + 11) * kPageSize);
}

TEST(page_store, says_that_the_process_is_gone) {
  Area area(2000);
  auto target = std::make_unique<TargetProcess>([&] {
    for (uint64_t page = 0; page < 500; page++) area.fill_page(page, 'x');
  });
  pid_t pid = target->pid();
  schema::Memory memory = target->memory(area.start(), area.end());
  Stored stored(1);
  schema::PageMap map;
  ASSERT_TRUE(stored.add_task(pid, memory, &map).ok());
  target.reset();
  Result<> finished = stored.store().read_all();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code(), ErrorCode::kGone);
  EXPECT_NE(finished.error().text().find(std::to_string(pid)), std::string::npos);
}

TEST(page_store, an_empty_address_space_has_an_empty_map) {
  TargetProcess target;
  Stored stored;
  schema::PageMap map;
  ASSERT_TRUE(stored.add_task(target.pid(), schema::Memory(), &map).ok());
  stored.finish();
  EXPECT_EQ(map.runs_size(), 0);
}

}  // namespace
}  // namespace ncr
