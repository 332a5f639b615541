#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

TEST(Memfd, is_described_with_its_name_seals_and_mode) {
  Fd fd(::memfd_create("a name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.get(), 8192), 0);
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  ASSERT_EQ(::lseek(fd.get(), 77, SEEK_SET), 77);
  SharedMemoryTable shared;
  FileTable table;
  table.store_content_in(shared);
  uint32_t id = value_of(table.add_local(Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0))));
  const schema::Memfd& memfd = table.records().at(id - 1)->memfd();
  EXPECT_EQ(memfd.position(), 77u);
  const schema::SharedMemory* object = shared.find(memfd.shmem_id());
  ASSERT_NE(object, nullptr);
  EXPECT_TRUE(object->memfd());
  EXPECT_EQ(object->name(), "a name");
  EXPECT_EQ(object->size(), 8192u);
  EXPECT_EQ(object->seals(), static_cast<uint32_t>(F_SEAL_SHRINK | F_SEAL_GROW));
  EXPECT_EQ(object->mode() & 07777, 0777u);
}

TEST(Memfd, two_descriptions_are_one_object) {
  Fd fd(::memfd_create("twice", MFD_CLOEXEC));
  Fd again = value_of(sys::open(strf("/proc/self/fd/%d", fd.get()).c_str(), O_RDONLY));
  Reopening trip;
  uint32_t one = trip.dump(fd.get());
  uint32_t two = trip.dump(again.get());
  EXPECT_NE(one, two);
  EXPECT_EQ(trip.record(one).memfd().shmem_id(), trip.record(two).memfd().shmem_id());
}

CR_TEST(memfd, mapping_and_descriptor_stay_one_object) {
  Fd fd(MUST(SYSCALL(::memfd_create("shared", MFD_CLOEXEC), "memfd_create")));
  MUST(SYSCALL(::ftruncate(fd.get(), 8192), "ftruncate"));
  auto* mapped =
      static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(mapped, MAP_FAILED);
  mapped[5000] = 'a';
  checkpoint_restore();
  EXPECT_EQ(mapped[5000], 'a');
  char byte = 0;
  EXPECT_EQ(::pread(fd.get(), &byte, 1, 5000), 1);
  EXPECT_EQ(byte, 'a');
  mapped[1] = 'b';
  EXPECT_EQ(::pread(fd.get(), &byte, 1, 1), 1);
  EXPECT_EQ(byte, 'b');
}

CR_TEST(memfd, a_private_mapping_of_shared_memory_sees_what_is_written_to_it) {
  constexpr size_t kSize = 8192;
  auto* shared = static_cast<char*>(
      ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(shared, MAP_FAILED);
  const std::string path = strf("/proc/self/map_files/%lx-%lx", reinterpret_cast<long>(shared),
                                reinterpret_cast<long>(shared + kSize));
  Fd fd = MUST(sys::open(path.c_str(), O_RDWR));
  auto* own =
      static_cast<char*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0));
  ASSERT_NE(own, MAP_FAILED);
  shared[0] = 'a';
  own[4096] = 'b';
  checkpoint_restore();
  EXPECT_EQ(own[0], 'a');
  EXPECT_EQ(own[4096], 'b');
  shared[1] = 'c';
  EXPECT_EQ(own[1], 'c');
  char byte = 0;
  EXPECT_EQ(::pread(fd.get(), &byte, 1, 1), 1);
  EXPECT_EQ(byte, 'c');
}

CR_TEST(memfd, keeps_name_seals_position_and_content) {
  Fd fd(MUST(SYSCALL(::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create")));
  MUST(sys::write_all(fd, "content", 7));
  MUST(SYSCALL(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), "F_ADD_SEALS"));
  checkpoint_restore();
  EXPECT_EQ(::fcntl(fd.get(), F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 7);
  char text[8] = {};
  EXPECT_EQ(::pread(fd.get(), text, sizeof text, 0), 7);
  EXPECT_STREQ(text, "content");
  EXPECT_EQ(MUST(sys::read_link_at(Fd(AT_FDCWD), strf("/proc/self/fd/%d", fd.get()).c_str())),
            "/memfd:sealed (deleted)");
}

CR_TEST(memfd, a_program_in_it_can_be_executed) {
  Fd fd(MUST(SYSCALL(::memfd_create("script", 0), "memfd_create")));
  const std::string script = "#!/bin/sh\nexit 7\n";
  MUST(sys::write_all(fd, script.data(), script.size()));
  checkpoint_restore();
  const std::string path = strf("/proc/self/fd/%d", fd.get());
  const pid_t child = test::fork_child([&path] {
    char name[] = "script";
    char* arguments[] = {name, nullptr};
    ::execv(path.c_str(), arguments);
  });
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

CR_TEST(memfd, parent_and_child_still_share_it) {
  Fd fd(MUST(SYSCALL(::memfd_create("family", MFD_CLOEXEC), "memfd_create")));
  MUST(SYSCALL(::ftruncate(fd.get(), 4096), "ftruncate"));
  auto* word = static_cast<volatile int*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(word, MAP_FAILED);
  pid_t child = test::fork_child([word] {
    while (*word != 1) ::usleep(1000);
    *word = 2;
  });
  checkpoint_restore();
  *word = 1;
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(*word, 2);
}

}  // namespace
}  // namespace ncr
