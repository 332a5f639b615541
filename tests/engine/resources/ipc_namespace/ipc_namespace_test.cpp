// Namespaces are made in forked children: dumped in one, built in the next, looked at there.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "engine/image/image_dir.h"
#include "engine/memory/page_store.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/resources/ipc_namespace/limits.h"
#include "engine/resources/room.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "tests/engine/resources/in_child.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace ipc_namespace {
extern const NamespaceRoom kRoom;
}
namespace {

#define DEMAND(condition)                                                  \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                            \
    }                                                                      \
  } while (false)

bool succeeded(const Result<>& result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.error().text().c_str());
  return result.ok();
}

union SemaphoreArgument {
  int value;
  unsigned short* values;
};

// What a dump of the namespace that this process is in leaves, and a new one built from it.
class Trip {
 public:
  Result<> dump_here() {
    std::vector<Task> tasks(1);
    const Task& member = tasks.front();
    tasks.front().proc = TRY(sys::open("/proc/self", O_PATH));
    DumpRequest request;
    Blockers blockers;
    SharedMemoryTable content;
    Fd space = TRY(sys::open("/proc/self/ns/ipc", O_RDONLY));
    TRY(ipc_namespace::kRoom.dump({tasks, member, std::move(space), request, content, nullptr},
                                  &record_, blockers));
    if (!blockers.empty()) return blockers.as_error();
    ImageDir images = TRY(ImageDir::create(scratch_.file("image")));
    PageStore store = TRY(
        PageStore::create(images, {.threads = 1, .staging_bytes = 0, .output = {}, .remote = {}}));
    TRY(content.store_pages(store));
    TRY(store.read_all());
    (void)TRY(store.finish());
    image_.pages =
        PageFiles(TRY(sys::open((scratch_.file("image") + "/" + kPagesFile).c_str(), O_RDONLY)));
    for (const google::protobuf::MessageLite* map : content.page_maps()) {
      const auto& pages = static_cast<const schema::PageMap&>(*map);
      image_.shmem_pages[pages.shmem_id()] = pages;
    }
    return {};
  }
  Result<> build_anew() {
    TRY(SYSCALL(::unshare(CLONE_NEWIPC), "unshare"));
    RestoreRequest request;
    SharedMemoryObjects objects;
    return ipc_namespace::kRoom.build({image_, request, objects, record_, {}});
  }
  const schema::IpcNamespace& record() const { return record_.ipc(); }

 private:
  test::Scratch scratch_;
  schema::Namespace record_;
  Image image_;
};

int in_new_namespace(int (*body)()) {
  const int status =
      testing::in_child([body] { return ::unshare(CLONE_NEWIPC) != 0 ? 77 : body(); });
  return status;
}

#define EXPECT_WORKS(...)                                  \
  do {                                                     \
    const int status_ = in_new_namespace(__VA_ARGS__);     \
    if (status_ == 77) GTEST_SKIP() << "no ipc namespace"; \
    EXPECT_EQ(status_, 0);                                 \
  } while (false)

TEST(IpcNamespace, segments_keep_ids_keys_owners_and_bytes) {
  EXPECT_WORKS([] {
    const int gone = ::shmget(IPC_PRIVATE, 4096, 0600);
    const int id = ::shmget(0x4e435201, 3 * 4096 + 7, IPC_CREAT | 0640);
    const int sparse = ::shmget(IPC_PRIVATE, 1 << 20, 0600);
    DEMAND(gone >= 0 && id >= 0 && sparse >= 0);
    DEMAND(::shmctl(gone, IPC_RMID, nullptr) == 0);
    auto* bytes = static_cast<char*>(::shmat(id, nullptr, 0));
    std::strcpy(bytes + 4096, "in the middle");
    bytes[3 * 4096 + 6] = 'z';
    ::shmdt(bytes);
    shmid_ds status{};
    status.shm_perm.uid = 12;
    status.shm_perm.gid = 34;
    status.shm_perm.mode = 0444;
    DEMAND(::shmctl(id, IPC_SET, &status) == 0);
    DEMAND(::shmctl(id, SHM_LOCK, nullptr) == 0);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    DEMAND(succeeded(trip.build_anew()));
    DEMAND(::shmget(0x4e435201, 0, 0) == id);
    DEMAND(::shmctl(id, IPC_STAT, &status) == 0);
    DEMAND(status.shm_perm.uid == 12 && status.shm_perm.gid == 34);
    DEMAND((status.shm_perm.mode & 0777) == 0444 && (status.shm_perm.mode & SHM_LOCKED) != 0);
    DEMAND(status.shm_perm.cuid == 0 && status.shm_segsz == 3 * 4096 + 7);
    DEMAND(status.shm_nattch == 0);
    bytes = static_cast<char*>(::shmat(id, nullptr, SHM_RDONLY));
    DEMAND(std::strcmp(bytes + 4096, "in the middle") == 0 && bytes[0] == 0);
    DEMAND(bytes[3 * 4096 + 6] == 'z');
    DEMAND(::shmctl(sparse, IPC_STAT, &status) == 0);
    return 0;
  });
}

TEST(IpcNamespace, a_removed_segment_lives_as_long_as_it_is_attached) {
  EXPECT_WORKS([] {
    const int id = ::shmget(0x4e435202, 4096, IPC_CREAT | 0600);
    auto* bytes = static_cast<char*>(::shmat(id, nullptr, 0));
    std::strcpy(bytes, "still here");
    DEMAND(::shmctl(id, IPC_RMID, nullptr) == 0);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    DEMAND(trip.record().segments_size() == 1 && trip.record().segments(0).removed());
    DEMAND(succeeded(trip.build_anew()));
    DEMAND(::shmget(0x4e435202, 0, 0) < 0);
    bytes = static_cast<char*>(::shmat(id, nullptr, 0));
    DEMAND(bytes != reinterpret_cast<char*>(-1));
    DEMAND(std::strcmp(bytes, "still here") == 0);
    shmid_ds status{};
    DEMAND(::shmctl(id, IPC_STAT, &status) == 0 && (status.shm_perm.mode & SHM_DEST) != 0);
    DEMAND(status.shm_nattch == 2);
    return 0;
  });
}

TEST(IpcNamespace, semaphores_keep_their_values) {
  EXPECT_WORKS([] {
    const int gone = ::semget(IPC_PRIVATE, 1, 0600);
    DEMAND(::semctl(gone, 0, IPC_RMID) == 0);
    const int id = ::semget(0x4e435203, 3, IPC_CREAT | 0620);
    unsigned short values[3] = {1, 0, 32767};
    SemaphoreArgument argument{};
    argument.values = values;
    DEMAND(::semctl(id, 0, SETALL, argument) == 0);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    DEMAND(succeeded(trip.build_anew()));
    DEMAND(::semget(0x4e435203, 3, 0) == id);
    unsigned short found[3] = {};
    argument.values = found;
    DEMAND(::semctl(id, 0, GETALL, argument) == 0);
    DEMAND(std::memcmp(values, found, sizeof values) == 0);
    return 0;
  });
}

struct Message {
  long type;
  char text[9000];
};

TEST(IpcNamespace, messages_keep_their_order_and_stay_where_they_were) {
  EXPECT_WORKS([] {
    Fd most = Fd(::open("/proc/sys/kernel/msgmax", O_WRONLY | O_CLOEXEC));
    DEMAND(succeeded(sys::write_all(most, "9000", 4)));
    const int id = ::msgget(0x4e435204, IPC_CREAT | 0600);
    static Message message{};
    for (long type : {5l, 1l, 5l}) {
      message.type = type;
      std::snprintf(message.text, sizeof message.text, "of %ld", type);
      DEMAND(::msgsnd(id, &message, type == 1 ? 0 : 8, 0) == 0);
    }
    message.type = 9;
    std::memset(message.text, 'x', sizeof message.text);
    DEMAND(::msgsnd(id, &message, sizeof message.text, 0) == 0);
    DEMAND(succeeded(sys::write_all(most, "8192", 4)));
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    msqid_ds status{};
    DEMAND(::msgctl(id, IPC_STAT, &status) == 0 && status.msg_qnum == 4);
    DEMAND(succeeded(trip.build_anew()));
    DEMAND(::msgget(0x4e435204, 0) == id);
    DEMAND(::msgctl(id, IPC_STAT, &status) == 0 && status.msg_qnum == 4);
    DEMAND(::msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT) == 8 && message.type == 5);
    DEMAND(std::strcmp(message.text, "of 5") == 0);
    DEMAND(::msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT) == 0 && message.type == 1);
    DEMAND(::msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT) == 8 && message.type == 5);
    DEMAND(::msgrcv(id, &message, sizeof message.text, 0, IPC_NOWAIT) == 9000 && message.type == 9);
    return 0;
  });
}

TEST(IpcNamespace, posix_queues_keep_their_messages) {
  EXPECT_WORKS([] {
    mq_attr attributes{};
    attributes.mq_maxmsg = 5;
    attributes.mq_msgsize = 100;
    Fd queue(::mq_open("/ncr", O_RDWR | O_CREAT | O_NONBLOCK, 0620, &attributes));
    DEMAND(queue.valid() && ::fchown(queue.get(), 7, 8) == 0);
    for (const char* text : {"a", "b", "c"})
      DEMAND(::mq_send(queue.get(), text, 2, text[0] == 'b' ? 9 : 3) == 0);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    DEMAND(::mq_getattr(queue.get(), &attributes) == 0 && attributes.mq_curmsgs == 3);
    DEMAND(succeeded(trip.build_anew()));
    queue = Fd(::mq_open("/ncr", O_RDWR | O_NONBLOCK));
    DEMAND(queue.valid());
    DEMAND(::mq_getattr(queue.get(), &attributes) == 0);
    DEMAND(attributes.mq_maxmsg == 5 && attributes.mq_msgsize == 100);
    struct stat status {};
    DEMAND(::fstat(queue.get(), &status) == 0 && status.st_uid == 7 && status.st_gid == 8);
    DEMAND((status.st_mode & 07777) == 0600 || (status.st_mode & 07777) == 0620);
    for (const char* text : {"b", "a", "c"}) {
      char found[100] = {};
      DEMAND(::mq_receive(queue.get(), found, sizeof found, nullptr) == 2);
      DEMAND(std::strcmp(found, text) == 0);
    }
    return 0;
  });
}

TEST(IpcNamespace, its_sysctls_come_along) {
  EXPECT_WORKS([] {
    test::append_to("/proc/sys/kernel/shmmni", "1234");
    test::append_to("/proc/sys/kernel/msg_next_id", "4711");
    test::append_to("/proc/sys/kernel/sem", "250 32000 100 128");
    test::append_to("/proc/sys/kernel/shm_rmid_forced", "1");
    test::append_to("/proc/sys/fs/mqueue/queues_max", "17");
    const int id = ::shmget(IPC_PRIVATE, 4096, 0600);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    shmid_ds status{};
    DEMAND(::shmctl(id, IPC_STAT, &status) == 0);
    DEMAND(test::file_text("/proc/sys/kernel/shm_rmid_forced") == "1\n");
    DEMAND(succeeded(trip.build_anew()));
    DEMAND(test::file_text("/proc/sys/kernel/shmmni") == "1234\n");
    DEMAND(test::file_text("/proc/sys/kernel/msg_next_id") == "4711\n");
    DEMAND(test::file_text("/proc/sys/kernel/sem") == "250\t32000\t100\t128\n");
    DEMAND(test::file_text("/proc/sys/kernel/shm_rmid_forced") == "1\n");
    DEMAND(test::file_text("/proc/sys/fs/mqueue/queues_max") == "17\n");
    return 0;
  });
}

TEST(IpcNamespace, an_object_of_another_user_is_created_by_that_user) {
  EXPECT_WORKS([] {
    if (::setegid(2222) != 0 || ::seteuid(1111) != 0) return 77;
    const int id = ::semget(IPC_PRIVATE, 1, 0600);
    if (::seteuid(0) != 0 || ::setegid(0) != 0) return 1;
    DEMAND(id >= 0);
    Trip trip;
    DEMAND(succeeded(trip.dump_here()));
    DEMAND(succeeded(trip.build_anew()));
    Trip again;
    DEMAND(succeeded(again.dump_here()));
    DEMAND(again.record().semaphores_size() == 1);
    const schema::IpcObject& object = again.record().semaphores(0).object();
    DEMAND(object.id() == id && object.creator_uid() == 1111 && object.creator_gid() == 2222);
    DEMAND(object.uid() == 1111 && ::geteuid() == 0 && ::getegid() == 0);
    return 0;
  });
}

TEST(IpcLimits, what_was_sent_under_others_fits) {
  schema::IpcNamespace record;
  schema::MessageQueue* queue = record.add_queues();
  queue->set_most_bytes(100);
  queue->add_messages()->set_text(std::string(70, 'a'));
  queue->add_messages()->set_text(std::string(50, 'b'));
  const std::vector<schema::IpcSysctl> needed = ipc_namespace::needed_limits(record);
  auto value = [&](const char* name) -> std::string {
    for (const schema::IpcSysctl& one : needed)
      if (one.name() == name) return one.value();
    return "";
  };
  EXPECT_EQ(value("kernel/msgmax"), "70");
  EXPECT_EQ(value("kernel/msgmnb"), "120");
  EXPECT_EQ(value("kernel/msgmni"), "1");
}

TEST(IpcLimits, an_image_sets_no_other_sysctl) {
  schema::IpcNamespace record;
  record.add_sysctls()->set_name("kernel/core_pattern");
  EXPECT_FALSE(ipc_namespace::set_limits(record).ok());
}

CR_TEST(ipc_namespace, a_tree_brings_its_own_along) {
  ASSERT_EQ(::unshare(CLONE_NEWIPC), 0);
  const int gone = ::shmget(IPC_PRIVATE, 4096, 0600);
  const int segment = ::shmget(0x4e435210, 2 * 4096, IPC_CREAT | 0600);
  const int set = ::semget(0x4e435211, 2, IPC_CREAT | 0600);
  const int queue = ::msgget(0x4e435212, IPC_CREAT | 0600);
  ASSERT_TRUE(segment >= 0 && set >= 0 && queue >= 0);
  ::shmctl(gone, IPC_RMID, nullptr);
  auto* bytes = static_cast<char*>(::shmat(segment, nullptr, 0));
  std::strcpy(bytes + 4096, "mine");
  ASSERT_EQ(::semctl(set, 1, SETVAL, SemaphoreArgument{.value = 7}), 0);
  struct {
    long type = 3;
    char text[8] = "message";
  } message;
  ASSERT_EQ(::msgsnd(queue, &message, sizeof message.text, 0), 0);
  checkpoint_restore();
  EXPECT_STREQ(bytes + 4096, "mine");
  EXPECT_EQ(::shmget(0x4e435210, 0, 0), segment);
  EXPECT_EQ(::semctl(set, 1, GETVAL), 7);
  std::memset(message.text, 0, sizeof message.text);
  EXPECT_EQ(::msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT), 8);
  EXPECT_STREQ(message.text, "message");
  shmid_ds status{};
  ASSERT_EQ(::shmctl(segment, IPC_STAT, &status), 0);
  EXPECT_EQ(status.shm_nattch, 1u);
  EXPECT_EQ(::shmdt(bytes), 0);
}

}  // namespace
}  // namespace ncr
