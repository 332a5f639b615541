#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

CR_TEST(robust_list, the_owner_of_a_mutex_dies_after_the_restore) {
  static pthread_mutex_t mutex;
  static std::atomic<int> held;
  static std::atomic<int> go;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ASSERT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
  std::thread thread([] {
    pthread_mutex_lock(&mutex);
    held = 1;
    await(go);
  });
  await(held);
  checkpoint_restore();
  go = 1;
  thread.join();  // woken by clear_child_tid
  EXPECT_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
}

CR_TEST(robust_list, the_leader_keeps_its_own_list) {
  void* before = nullptr;
  void* after = nullptr;
  size_t size = 0;
  ASSERT_EQ(syscall(SYS_get_robust_list, 0, &before, &size), 0);
  checkpoint_restore();
  ASSERT_EQ(syscall(SYS_get_robust_list, 0, &after, &size), 0);
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace ncr::test
