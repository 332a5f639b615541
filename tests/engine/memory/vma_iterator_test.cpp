#include "engine/memory/vma_iterator.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/memory/memory_dump.h"
#include "engine/memory/vma_reader.h"
#include "engine/memory/vma_table.h"
#include "tests/engine/memory/target_process.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/engine_process.h"
#include "tests/support/gate.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;

char* map(uint64_t pages, int prot = kReadWrite, int flags = kAnonymous, int fd = -1,
          off_t offset = 0) {
  return static_cast<char*>(::mmap(nullptr, pages * kPageSize, prot, flags, fd, offset));
}

void name_memory(char* at, uint64_t pages, const char* name) {
  (void)::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, pages * kPageSize, name);
}

std::vector<VmaLine> from_smaps(pid_t pid) {
  Result<std::string> text = sys::read_file(strf("/proc/%d/smaps", pid).c_str());
  Result<std::vector<VmaLine>> lines = parse_smaps(text.ok() ? text.value() : "");
  EXPECT_TRUE(lines.ok());
  return lines.ok() ? lines.take() : std::vector<VmaLine>();
}

std::string described(const VmaLine& line) {
  schema::Vma vma = line.vma;
  if (vma.heap()) vma.clear_name();  // smaps do not tell both
  return strf("%llx %llx dev %llx ino %llu %s%s%s%s ", static_cast<unsigned long long>(vma.start()),
              static_cast<unsigned long long>(vma.end()),
              static_cast<unsigned long long>(line.device),
              static_cast<unsigned long long>(line.inode), line.path.c_str(),
              line.deleted ? " (deleted)" : "", line.may_write ? " mw " : " ",
              line.unsupported.c_str()) +
         vma.SerializeAsString();
}

class vma_iterator : public testing::Test {
 protected:
  vma_iterator() : loaded_(VmaIterator::load()) {}
  void SetUp() override {
    if (!loaded_.ok()) GTEST_SKIP() << loaded_.error().text();
  }
  const VmaIterator& iterator() const { return loaded_.value(); }

  std::optional<std::vector<VmaLine>> read(pid_t pid) const {
    Result<std::optional<std::vector<VmaLine>>> lines = iterator().read(pid);
    EXPECT_TRUE(lines.ok()) << lines.error().text();
    return lines.ok() ? lines.take() : std::nullopt;
  }

  // But for "[stack]", which is of no use to anyone, [vsyscall], which is the same in every
  // process, and a name that smaps cannot tell.
  void expect_same_as_smaps(pid_t pid, const std::string& ambiguous = "") const {
    std::optional<std::vector<VmaLine>> told = read(pid);
    ASSERT_TRUE(told.has_value());
    std::vector<VmaLine> known = from_smaps(pid);
    std::erase_if(known,
                  [](const VmaLine& line) { return line.vma.kind() == schema::VMA_VSYSCALL; });
    ASSERT_EQ(told->size(), known.size());
    for (size_t i = 0; i < known.size(); i++) {
      if (known[i].path == "[stack]") known[i].path.clear();
      if ((*told)[i].path == ambiguous) known[i].path = ambiguous;
      EXPECT_EQ(described((*told)[i]), described(known[i]));
    }
  }

 private:
  Result<VmaIterator> loaded_;
};

TEST_F(vma_iterator, tells_what_smaps_tell) {
  test::Scratch scratch;
  const std::string name = scratch.path() + "/two\nlines and \\012";
  TargetProcess target([&] {
    for (int way : {MADV_DONTFORK, MADV_WIPEONFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE,
                    MADV_DONTDUMP, MADV_SEQUENTIAL, MADV_RANDOM})
      (void)::madvise(map(3), kPageSize, way);
    (void)::mlock(map(3), kPageSize);
    (void)::syscall(SYS_mlock2, map(3), kPageSize, MLOCK_ONFAULT);
    map(2, PROT_NONE);
    map(2, kReadWrite, kAnonymous | MAP_NORESERVE);
    map(2, kReadWrite, kAnonymous | MAP_GROWSDOWN);
    map(2, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS);
    name_memory(map(2), 2, "a name");
    name_memory(map(2, kReadWrite, MAP_SHARED | MAP_ANONYMOUS), 2, "a shared name");
    const int memfd = ::memfd_create("a memfd", 0);
    EXPECT_EQ(::ftruncate(memfd, 1 << 16), 0);
    map(2, kReadWrite, MAP_SHARED, memfd, 4096);
    map(2, PROT_READ, MAP_PRIVATE, memfd);
    const int file = ::open(name.c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT_EQ(::ftruncate(file, 1 << 16), 0);
    map(2, kReadWrite, MAP_SHARED, file, 8192);
    const std::string gone = scratch.path() + "/gone";
    const int deleted = ::open(gone.c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT_EQ(::ftruncate(deleted, 1 << 16), 0);
    map(2, kReadWrite, MAP_PRIVATE, deleted);
    ::unlink(gone.c_str());
    map(2, PROT_READ, MAP_SHARED, ::open("/proc/self/exe", O_RDONLY));
    const int segment = ::shmget(IPC_PRIVATE, 8192, 0600);
    EXPECT_NE(::shmat(segment, nullptr, SHM_RDONLY), reinterpret_cast<void*>(-1));
    ::shmctl(segment, IPC_RMID, nullptr);
    unsigned long context = 0;
    (void)::syscall(SYS_io_setup, 8, &context);
  });
  std::optional<std::vector<VmaLine>> told = read(target.pid());
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(std::count_if(told->begin(), told->end(),
                          [&](const VmaLine& line) { return line.path == name; }),
            1);
  expect_same_as_smaps(target.pid(), name);
}

TEST_F(vma_iterator, tells_of_thousands_of_mappings) {
  TargetProcess target([] {
    char* at = map(6000);
    for (uint64_t i = 0; i < 6000; i += 2) ::mprotect(at + i * kPageSize, kPageSize, PROT_READ);
  });
  expect_same_as_smaps(target.pid());
}

TEST_F(vma_iterator, leaves_to_smaps_what_only_they_tell) {
  TargetProcess watched([] {
    const auto fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    EXPECT_EQ(::ioctl(fd, UFFDIO_API, &api), 0);
    uffdio_register range{};
    range.range = {reinterpret_cast<uint64_t>(map(2)), 2 * kPageSize};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    EXPECT_EQ(::ioctl(fd, UFFDIO_REGISTER, &range), 0);
  });
  EXPECT_FALSE(read(watched.pid()).has_value());

  test::Scratch scratch;
  TargetProcess far([&] {
    const std::string folder = scratch.path() + "/" + std::string(200, 'a');
    const std::string deep = folder + "/" + std::string(200, 'b');
    EXPECT_EQ(::mkdir(folder.c_str(), 0700), 0);
    const int file = ::open(deep.c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT_EQ(::ftruncate(file, kPageSize), 0);
    map(1, PROT_READ, MAP_PRIVATE, file);
  });
  EXPECT_FALSE(read(far.pid()).has_value());
}

TEST_F(vma_iterator, says_that_a_process_is_gone) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  Result<std::optional<std::vector<VmaLine>>> lines = iterator().read(child);
  ASSERT_FALSE(lines.ok());
}

// In a mount namespace of this process: dir/all has the file of dir/lower.
void mount_overlay(const std::string& dir) {
  EXPECT_EQ(::unshare(CLONE_NEWNS), 0);
  EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  EXPECT_EQ(::mount("tmpfs", dir.c_str(), "tmpfs", 0, nullptr), 0);
  for (const char* name : {"/lower", "/upper", "/work", "/all"})
    EXPECT_EQ(::mkdir((dir + name).c_str(), 0700), 0);
  const int made = ::open((dir + "/lower/file").c_str(), O_RDWR | O_CREAT, 0600);
  EXPECT_EQ(::ftruncate(made, kPageSize), 0);
  const std::string layers =
      "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work";
  EXPECT_EQ(::mount("overlay", (dir + "/all").c_str(), "overlay", 0, layers.c_str()), 0);
}

// The kernel maps the file of the layer.
TEST_F(vma_iterator, a_file_of_an_overlay_is_known_by_the_name_it_has_there) {
  test::Scratch scratch;
  const std::string& dir = scratch.path();
  TargetProcess target([&] {
    mount_overlay(dir);
    map(1, PROT_READ, MAP_PRIVATE, ::open((dir + "/all/file").c_str(), O_RDONLY));
  });
  Task task;
  task.pid = target.pid();
  task.proc = MUST(sys::open(strf("/proc/%d", task.pid).c_str(), O_PATH | O_DIRECTORY));
  std::optional<std::vector<VmaLine>> told = read(task.pid);
  ASSERT_TRUE(told.has_value());
  std::erase_if(*told, [](const VmaLine& line) { return !line.path.ends_with("/file"); });
  ASSERT_EQ(told->size(), 1u);
  FileTable files;
  SharedMemoryTable shared_memory;
  MUST(files.know_mounts(task, 1));
  files.set_mount_namespace(1);
  MemoryDump memory(files, shared_memory);
  Blockers blockers;
  schema::Task record;
  MUST(memory.look(task, *told, &record, blockers));
  const uint32_t id = record.memory().vmas(0).file_id();
  ASSERT_GT(id, 0u);
  EXPECT_EQ(files.records()[id - 1]->path(), dir + "/all/file");
}

constexpr size_t kTasks = 40;  // enough for the iterator to be used

void expect_many_tasks_read_as_smaps_have_them() {
  std::vector<std::unique_ptr<TargetProcess>> targets;
  std::vector<Task> tasks(kTasks);
  for (size_t i = 0; i < kTasks; i++) {
    targets.push_back(std::make_unique<TargetProcess>([i] { map(i + 1, PROT_NONE); }));
    tasks[i].pid = targets[i]->pid();
    tasks[i].proc = MUST(sys::open(strf("/proc/%d", tasks[i].pid).c_str(), O_PATH | O_DIRECTORY));
  }
  VmaReader reader(2);
  reader.begin(tasks);
  for (size_t i = 0; i < kTasks; i++) {
    std::vector<VmaLine> lines = MUST(reader.take(i));
    std::vector<VmaLine> known = from_smaps(tasks[i].pid);
    for (std::vector<VmaLine>* list : {&lines, &known})
      std::erase_if(*list, [](const VmaLine& line) {
        return line.vma.kind() == schema::VMA_VSYSCALL || line.vma.grows_down();
      });
    ASSERT_EQ(lines.size(), known.size());
    for (size_t j = 0; j < known.size(); j++) EXPECT_EQ(described(lines[j]), described(known[j]));
  }
  reader.end();
}

TEST(vma_reader, reads_many_tasks_as_smaps_have_them) {
  expect_many_tasks_read_as_smaps_have_them();
}

TEST(vma_reader, ends_while_its_program_is_loaded) {
  const std::vector<Task> tasks(kTasks);
  for (int round = 0; round < 20; round++) {
    VmaReader reader(2);
    reader.begin(tasks);
    ::usleep(static_cast<useconds_t>(round) * 100);
    reader.end();
  }
}

void keep_only(std::initializer_list<uint32_t> capabilities) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct kept[_LINUX_CAPABILITY_U32S_3] = {};
  for (uint32_t one : capabilities) kept[one / 32].effective |= 1u << one % 32;
  for (auto& word : kept) word.permitted = word.effective;
  ASSERT_EQ(::syscall(SYS_capset, &header, kept), 0);
}

TEST(vma_reader, reads_them_without_the_right_to_load_programs_too) {
  const pid_t child = test::fork_with([] {
    keep_only({});
    EXPECT_FALSE(VmaIterator::load().ok());
    expect_many_tasks_read_as_smaps_have_them();
  });
  test::expect_success(child);
}

// The root of a tree whose processes all map a file of an overlay.
pid_t start_many_on_an_overlay(const test::Scratch& scratch) {
  const pid_t root = test::fork_child([&] {
    ::setsid();
    ::close_range(0, ~0u, 0);
    const int file = ::open((scratch.path() + "/all/file").c_str(), O_RDONLY);
    map(1, PROT_READ, MAP_PRIVATE, file);
    ::close(file);
    for (size_t i = 0; i < kTasks; i++)
      if (::fork() == 0) break;
    for (;;) ::pause();
  });
  while (test::children_of(root).size() < kTasks) ::usleep(1000);
  return root;
}

TEST(vma_reader, finds_files_of_an_overlay_without_the_right_to_see_what_is_mapped) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const pid_t child = test::fork_with([] {
    test::Scratch scratch;
    const test::Scratch images;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    mount_overlay(scratch.path());
    DumpRequest request;
    request.pid = start_many_on_an_overlay(scratch);
    request.final_state = FinalState::kRun;
    keep_only({CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE});
    for (int round = 0; round < 8; round++) {
      request.images_dir = images.file(strf("%d", round));
      Result<> dumped = test::engine_dump(request);
      EXPECT_TRUE(dumped.ok()) << dumped.error().text();
    }
    test::kill_descendants();
  });
  test::expect_success(child);
}

}  // namespace

namespace test {
namespace {

// But for the stack, and for the number of a memfd.
std::string mappings_of_self() {
  std::string all;
  for (const VmaLine& line : MUST(parse_smaps(MUST(sys::read_file("/proc/self/smaps")))))
    if (!line.vma.grows_down()) all += line.vma.SerializeAsString() + line.path + "\n";
  return all;
}

CR_TEST(vma_reader, the_mappings_of_forty_processes_stay_as_they_are) {
  constexpr int kChildren = 40;
  Gate gate;
  pid_t children[kChildren];
  for (int i = 0; i < kChildren; i++)
    children[i] = fork_with([&gate, i] {
      const int memfd = ::memfd_create("of a child", 0);
      EXPECT_EQ(::ftruncate(memfd, 1 << 16), 0);
      char* shared = map(2, kReadWrite, MAP_SHARED, memfd, 4096);
      shared[0] = static_cast<char>(i);
      char* own = map(4);
      own[kPageSize] = static_cast<char>(i);
      name_memory(own, 4, "own");
      EXPECT_EQ(::madvise(own, kPageSize, MADV_DONTFORK), 0);
      EXPECT_EQ(::madvise(own + 2 * kPageSize, kPageSize, MADV_DONTDUMP), 0);
      map(1, PROT_READ, MAP_PRIVATE, ::open("/proc/self/exe", O_RDONLY), 4096);
      const std::string before = mappings_of_self();
      gate.pass();
      EXPECT_TRUE(mappings_of_self() == before);
      EXPECT_EQ(shared[0], static_cast<char>(i));
      EXPECT_EQ(own[kPageSize], static_cast<char>(i));
    });
  gate.wait_ready(kChildren);
  checkpoint_restore();
  gate.open(kChildren);
  for (pid_t child : children) expect_success(child);
}

}  // namespace
}  // namespace test
}  // namespace ncr
