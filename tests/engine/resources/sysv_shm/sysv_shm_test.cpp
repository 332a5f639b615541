#include "engine/resources/sysv_shm/sysv_shm.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

constexpr size_t kPage = 4096;

char* attach(int id, int flags = 0) { return static_cast<char*>(::shmat(id, nullptr, flags)); }

unsigned long attachments_of(int id) {
  shmid_ds status{};
  return ::shmctl(id, IPC_STAT, &status) == 0 ? status.shm_nattch : ~0ul;
}

TEST(SysvShm, an_attachment_is_put_together_from_its_pieces) {
  const int id = ::shmget(IPC_PRIVATE, 4 * kPage, 0600);
  if (id < 0) GTEST_SKIP() << "no System V segments";
  auto* area =
      static_cast<char*>(::mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  schema::Vma vma;
  vma.set_kind(schema::VMA_SYSV);
  vma.set_sysv_id(id);
  {
    sysv_shm::Attachments attachments;
    for (uint64_t page : {0, 2}) {  // the second page was unmapped, the last one too
      vma.set_start(0x10000 + page * kPage);
      vma.set_end(vma.start() + kPage);
      vma.set_file_offset(page * kPage);
      vma.set_prot(page == 0 ? PROT_READ | PROT_WRITE : PROT_READ);
      ASSERT_TRUE(attachments.map(vma, 0, kPage, area + page * kPage).ok());
    }
    vma.set_file_offset(4 * kPage);
    EXPECT_FALSE(attachments.map(vma, 0, kPage, area).ok()) << "beyond the end";
  }
  EXPECT_EQ(attachments_of(id), 2u);
  area[0] = 'x';
  EXPECT_EQ(::shmdt(area), 0);
  EXPECT_EQ(attachments_of(id), 0u) << "one call takes both pieces";
  ::shmctl(id, IPC_RMID, nullptr);
  ::munmap(area, 4 * kPage);
}

CR_TEST(sysv_shm, an_attached_segment_keeps_id_place_and_bytes) {
  const int id = ::shmget(IPC_PRIVATE, 3 * kPage, 0600);
  ASSERT_GE(id, 0);
  char* at = attach(id);
  char* read_only = attach(id, SHM_RDONLY);
  std::strcpy(at + kPage, "bytes");
  ASSERT_EQ(::munmap(at + 2 * kPage, kPage), 0);
  checkpoint_restore();
  EXPECT_STREQ(read_only + kPage, "bytes");
  std::strcpy(at, "shared still");
  EXPECT_STREQ(read_only, "shared still");
  EXPECT_NE(::mprotect(read_only, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(attachments_of(id), 2u);
  EXPECT_EQ(::shmdt(at), 0);
  EXPECT_EQ(::shmdt(read_only), 0);
  EXPECT_EQ(attachments_of(id), 0u);
  ::shmctl(id, IPC_RMID, nullptr);
}

CR_TEST(sysv_shm, a_removed_segment_is_shared_by_a_family_and_then_gone) {
  const int id = ::shmget(IPC_PRIVATE, kPage, 0600);
  ASSERT_GE(id, 0);
  char* at = attach(id);
  ASSERT_EQ(::shmctl(id, IPC_RMID, nullptr), 0);
  std::strcpy(at, "ours");
  pid_t child = test::fork_child([&] {
    while (at[100] == 0) ::usleep(1000);
    at[200] = at[100];
    ::pause();
  });
  checkpoint_restore();
  EXPECT_STREQ(at, "ours");
  EXPECT_EQ(attachments_of(id), 2u);
  at[100] = 'a';
  for (int tries = 0; tries < 2000 && at[200] == 0; tries++) ::usleep(1000);
  EXPECT_EQ(at[200], 'a');
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(attachments_of(id), 1u);
  EXPECT_EQ(::shmdt(at), 0);
  EXPECT_EQ(attachments_of(id), ~0ul) << "it went with its last attachment";
}

}  // namespace
}  // namespace ncr
