#include "engine/resources/shared_memory/shared_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/ids.h"

namespace ncr {
namespace {

constexpr int kFdBase = 500;

struct Sample {
  Image image;
  schema::SharedMemory& object(uint64_t id, bool memfd) {
    schema::SharedMemory& record = image.shared_memory.emplace_back();
    record.set_id(id);
    record.set_size(3 * kPageSize);
    record.set_memfd(memfd);
    if (memfd) record.set_name("ring");
    schema::PageMap& map = image.shmem_pages[id];
    map.set_shmem_id(id);
    schema::PageRun* run = map.add_runs();
    run->set_start(kPageSize);
    run->set_pages(1);
    run->set_stored(0);
    return record;
  }
};

Sample sample() {
  Sample sample;
  Fd pages(::memfd_create("pages", MFD_CLOEXEC));
  std::string page(kPageSize, 'p');
  EXPECT_EQ(::write(pages.get(), page.data(), page.size()), static_cast<ssize_t>(page.size()));
  sample.image.pages = PageFiles(std::move(pages));
  return sample;
}

std::string content(const SharedMemoryObjects& objects, uint64_t id) {
  Fd fd = objects.open(id, O_RDONLY).take();
  std::string text(3 * kPageSize, '?');
  EXPECT_TRUE(sys::pread_exact(fd, text.data(), text.size(), 0).ok());
  return text;
}

const std::string kContent =
    std::string(kPageSize, '\0') + std::string(kPageSize, 'p') + std::string(kPageSize, '\0');

TEST(SharedMemory, a_memfd_has_its_name_size_mode_and_content) {
  Sample image = sample();
  image.object(7, true).set_mode(S_IFREG | 0600);
  SharedMemoryObjects objects = SharedMemoryObjects::create(image.image, kFdBase, 1).take();
  int fd = objects.descriptor(7).take();
  EXPECT_GE(fd, kFdBase);
  struct stat stat {};
  ASSERT_EQ(::fstat(fd, &stat), 0);
  EXPECT_EQ(stat.st_size, static_cast<off_t>(3 * kPageSize));
  EXPECT_EQ(stat.st_mode & 07777, 0600u);
  char link[64]{};
  ASSERT_GT(::readlink(strf("/proc/self/fd/%d", fd).c_str(), link, sizeof link - 1), 0);
  EXPECT_STREQ(link, "/memfd:ring (deleted)");
  EXPECT_EQ(content(objects, 7), kContent);
}

TEST(SharedMemory, anonymous_memory_is_mapped_from_one_object) {
  Sample image = sample();
  image.object(8, false);
  SharedMemoryObjects objects = SharedMemoryObjects::create(image.image, kFdBase, 1).take();
  int fd = objects.descriptor(8).take();
  auto map = [&] {
    return static_cast<char*>(
        ::mmap(nullptr, 3 * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  };
  char* one = map();
  char* two = map();
  ASSERT_NE(one, MAP_FAILED);
  ASSERT_NE(two, MAP_FAILED);
  EXPECT_EQ(one[kPageSize], 'p');
  one[0] = 'x';
  EXPECT_EQ(two[0], 'x');
  ::munmap(one, 3 * kPageSize);
  ::munmap(two, 3 * kPageSize);
}

TEST(SharedMemory, seals_come_back_after_the_content) {
  Sample image = sample();
  image.object(9, true).set_seals(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  SharedMemoryObjects objects = SharedMemoryObjects::create(image.image, kFdBase, 1).take();
  EXPECT_EQ(::fcntl(objects.descriptor(9).take(), F_GET_SEALS),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  EXPECT_EQ(content(objects, 9), kContent);
}

TEST(SharedMemory, a_seal_against_future_writers_waits_for_the_mappings) {
  Sample image = sample();
  image.object(9, true).set_seals(F_SEAL_GROW | 0x10 | F_SEAL_SEAL);
  SharedMemoryObjects objects = SharedMemoryObjects::create(image.image, kFdBase, 1).take();
  int fd = objects.descriptor(9).take();
  EXPECT_EQ(::fcntl(fd, F_GET_SEALS), F_SEAL_GROW);
  ASSERT_TRUE(objects.seal(image.image).ok());
  EXPECT_EQ(::fcntl(fd, F_GET_SEALS), F_SEAL_GROW | 0x10 | F_SEAL_SEAL);
}

TEST(SharedMemory, an_object_that_the_image_lacks_is_malformed) {
  SharedMemoryObjects objects;
  EXPECT_EQ(objects.descriptor(1).error().code(), ErrorCode::kMalformed);
}

}  // namespace
}  // namespace ncr
