#include "engine/page_reading.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "engine/tracee/remote_memory.h"
#include "tests/engine/image/sample_image.h"
#include "tests/engine/memory/target_process.h"

namespace ncr {
namespace {

// A child with one page of 'a's, and the record that a look at it makes.
class Looked {
 public:
  Looked()
      : page_(static_cast<char*>(::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        target_([this] { std::memset(page_, 'a', kPageSize); }) {
    record_.set_pid(target_.pid());
    schema::Vma* vma = record_.mutable_memory()->add_vmas();
    vma->set_start(reinterpret_cast<uint64_t>(page_));
    vma->set_end(vma->start() + kPageSize);
    vma->set_kind(schema::VMA_ANONYMOUS);
  }
  Looked(const Looked&) = delete;
  ~Looked() { ::munmap(page_, kPageSize); }

  schema::Task* record() { return &record_; }
  void has_a_ring() {
    schema::Vma* ring = record_.mutable_memory()->add_vmas();
    ring->set_start(record_.memory().vmas(0).end());
    ring->set_end(ring->start() + kPageSize);
    ring->set_kind(schema::VMA_AIO);
  }
  // As a request of asynchronous I/O would.
  void write(char c) {
    const std::string bytes(kPageSize, c);
    EXPECT_TRUE(
        write_remote(target_.pid(), {record_.memory().vmas(0).start()}, bytes.data(), bytes.size())
            .ok());
  }

 private:
  char* page_;
  TargetProcess target_;
  schema::Task record_;
};

// What a reading needs, and the pages file that it leaves.
class Pages {
 public:
  Pages()
      : images_(take(ImageDir::create(scratch_.path()))),
        store_(take(PageStore::create(images_, {.threads = 2, .output = {}, .remote = {}}))) {}

  PageStore& store() { return store_; }
  SharedMemoryTable& objects() { return objects_; }
  std::vector<schema::PageMap>& maps() { return maps_; }
  std::string finish() {
    EXPECT_TRUE(store_.finish().ok());
    return get_file(scratch_.path() + "/" + kPagesFile);
  }

 private:
  template <class T>
  static T take(Result<T> result) {
    EXPECT_TRUE(result.ok());
    return result.take();
  }

  ScratchDir scratch_;
  ImageDir images_;
  PageStore store_;
  SharedMemoryTable objects_;
  std::vector<schema::PageMap> maps_;
};

TEST(page_reading, reads_the_pages_of_the_tasks_that_are_offered) {
  Looked first, second, zombie;
  zombie.record()->set_state(schema::TASK_ZOMBIE);
  second.write('b');
  Pages pages;
  PageReading reading(pages.store(), pages.objects(), pages.maps());
  reading.begin(3, {}, false);
  for (Looked* looked : {&first, &zombie, &second}) reading.offer(looked->record());
  reading.offer_rest();
  ASSERT_TRUE(reading.finish().ok());
  EXPECT_EQ(pages.finish(), std::string(kPageSize, 'a') + std::string(kPageSize, 'b'));
  ASSERT_EQ(pages.maps().size(), 3u);
  EXPECT_EQ(pages.maps()[0].pid(), first.record()->pid());
  EXPECT_EQ(pages.maps()[0].runs_size(), 1);
  EXPECT_EQ(pages.maps()[1].runs_size(), 0);
}

TEST(page_reading, waits_with_a_task_that_asynchronous_io_may_still_write_to) {
  Looked looked;
  looked.has_a_ring();
  Pages pages;
  PageReading reading(pages.store(), pages.objects(), pages.maps());
  reading.begin(1, {}, false);
  reading.offer(looked.record());
  ::usleep(50'000);
  looked.write('z');
  reading.offer_rest();
  ASSERT_TRUE(reading.finish().ok());
  EXPECT_EQ(pages.finish(), std::string(kPageSize, 'z'));
}

TEST(page_reading, stops_when_nobody_wants_the_pages) {
  Looked looked;
  Pages pages;
  PageReading reading(pages.store(), pages.objects(), pages.maps());
  reading.begin(2, {}, false);
  reading.offer(looked.record());
}

}  // namespace
}  // namespace ncr
