// A task made by hand: its record, its pages and a page file. A forked child stages it and enters
// the restorer; the test plays the coordinator and looks at the result from outside.
#include "engine/memory/restorer_launch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/memory/address_ranges.h"
#include "engine/memory/staged_memory.h"
#include "engine/resources/room.h"
#include "engine/resources/vdso/vdso.h"
#include "engine/tracee/remote_memory.h"

namespace ncr {
namespace {

constexpr uint64_t kProgram = 0x400000;
constexpr uint64_t kHeap = 0x10000000;
constexpr uint64_t kLibrary = 0x7f0000000000;
constexpr uint64_t kStack = 0x7ffffff00000;

// The page file has page k filled with the byte k.
Fd page_file(unsigned pages) {
  Fd fd(::memfd_create("pages", MFD_CLOEXEC));
  for (unsigned i = 0; i < pages; i++) {
    std::string page(kPageSize, static_cast<char>(i));
    EXPECT_EQ(::pwrite(fd.get(), page.data(), page.size(), i * static_cast<long>(kPageSize)),
              static_cast<ssize_t>(kPageSize));
  }
  return fd;
}

schema::Vma* add_vma(schema::Task& task, uint64_t start, uint64_t pages, int prot) {
  schema::Vma* vma = task.mutable_memory()->add_vmas();
  vma->set_start(start);
  vma->set_end(start + pages * kPageSize);
  vma->set_prot(static_cast<uint32_t>(prot));
  return vma;
}

void add_run(schema::PageMap& map, uint64_t start, uint64_t pages, uint64_t first_page) {
  schema::PageRun* run = map.add_runs();
  run->set_start(start);
  run->set_pages(pages);
  run->set_stored(first_page * kPageSize);
}

// The first of `count` free process numbers, for threads that are created with theirs; far from
// where the kernel gives them out.
int unused_tids(int count) {
  int free = 0;
  int tid = 30'000 - ::getpid() % 10'000;
  for (; free < count; tid--)
    free = ::access(strf("/proc/%d", tid).c_str(), F_OK) != 0 ? free + 1 : 0;
  return tid + 1;
}

schema::Task sample_task(int threads) {
  schema::Task task;
  task.set_pid(1000);
  task.set_comm("sample");
  add_vma(task, kProgram, 2, PROT_READ | PROT_EXEC);
  add_vma(task, kHeap, 8, PROT_READ | PROT_WRITE)->set_heap(true);
  add_vma(task, kLibrary, 4, PROT_READ);
  add_vma(task, kLibrary + 4 * kPageSize, 1 << 20, PROT_NONE)->set_no_reserve(true);
  add_vma(task, kStack, 16, PROT_READ | PROT_WRITE)->set_grows_down(true);
  schema::Memory* memory = task.mutable_memory();
  memory->set_start_code(kProgram);
  memory->set_end_code(kProgram + kPageSize);
  memory->set_start_data(kProgram + kPageSize);
  memory->set_end_data(kProgram + 2 * kPageSize);
  memory->set_start_brk(kHeap);
  memory->set_brk(kHeap + 8 * kPageSize - 100);
  memory->set_start_stack(kStack + 0x8000);
  memory->set_arg_start(kStack + 0xf000);
  memory->set_arg_end(kStack + 0xf010);
  memory->set_env_start(kStack + 0xf010);
  memory->set_env_end(kStack + 0xf020);
  memory->set_auxv(std::string(16, '\0'));
  task.add_threads()->set_tid(1000);
  const int first = unused_tids(threads);
  for (int i = 1; i < threads; i++) task.add_threads()->set_tid(first + i);
  return task;
}

schema::PageMap sample_pages() {
  schema::PageMap map;
  add_run(map, kProgram, 2, 1);
  add_run(map, kHeap, 1, 3);
  add_run(map, kHeap + 4 * kPageSize, 2, 4);
  add_run(map, kLibrary, 4, 6);
  add_run(map, kStack + 15 * kPageSize, 1, 10);
  return map;
}

struct Sample {
  Image image;
  schema::Task& task() { return image.tasks[0]; }
};

Sample sample(int threads) {
  Sample sample;
  sample.image.tasks.push_back(sample_task(threads));
  sample.image.task_pages[1000] = sample_pages();
  sample.image.pages = page_file(16);
  return sample;
}

// A child that becomes the task; killed when the test is over.
class Newborn {
 public:
  Newborn(Sample& sample, std::vector<StepList> thread_steps = {})
      : sync_(SyncPage::create({static_cast<uint32_t>(sample.task().threads_size())}).take()) {
    uint64_t shift = choose_shift(sample.image).take();
    thread_steps.resize(static_cast<size_t>(sample.task().threads_size()));
    pid_ = ::fork();
    if (pid_ == 0) become(sample, shift, thread_steps);
  }
  Newborn(const Newborn&) = delete;
  Newborn& operator=(const Newborn&) = delete;
  ~Newborn() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  Result<> park() {
    TRY(sync_.wait_ready(alive()));
    sync_.open_gate();
    return sync_.wait_parked(alive());
  }
  SyncPage::Check alive() {
    return [this]() -> Result<> {
      siginfo_t info{};
      ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid != 0)
        return Error::gone(strf("the child is gone, status %d", info.si_status));
      return {};
    };
  }
  std::string bytes(uint64_t address, size_t size) const {
    std::string data(size, '?');
    EXPECT_TRUE(read_remote(pid_, RemoteAddress{address}, data.data(), size).ok());
    return data;
  }
  std::vector<OwnMapping> mappings() const { return parse_maps(text("maps")).take(); }
  std::string text(const char* file) const {
    return sys::read_file(strf("/proc/%d/%s", pid_, file).c_str()).take();
  }
  const SyncPage& sync() const { return sync_; }
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] void become(Sample& sample, uint64_t shift, const std::vector<StepList>& threads) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    SharedMemoryObjects shared;
    StageRequest request{sample.image, sample.task(), nullptr, shift, shared, 2};
    Result<> staged = StagedMemory::stage(
        request, [](uint32_t) -> Result<int> { return Error::malformed("no file"); });
    // The kernel writes to libc's rseq area whenever it preempts us, and the area goes.
    for (const TaskRoom* room : task_rooms())
      if (std::string(room->name) == "rseq") (void)room->restore({sample.task(), RestoreRequest{}});
    StepList steps;
    Error error =
        staged.ok()
            ? enter_restorer({sample.image, sample.task(), shift, steps, threads, sync_, 0, -1})
            : staged.take_error();
    sync_.report_failure(0, error);
    ::_exit(1);
  }

  SyncPage sync_;
  pid_t pid_;
};

std::string page_of(int value) { return std::string(kPageSize, static_cast<char>(value)); }

std::string message(const Result<>& result) { return result.ok() ? "" : result.error().text(); }

TEST(RestorerLaunch, a_task_has_its_memory_and_nothing_else) {
  Sample task = sample(1);
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  EXPECT_EQ(newborn.bytes(kProgram, kPageSize), page_of(1));
  EXPECT_EQ(newborn.bytes(kHeap, kPageSize), page_of(3));
  EXPECT_EQ(newborn.bytes(kHeap + kPageSize, kPageSize), page_of(0));
  EXPECT_EQ(newborn.bytes(kHeap + 5 * kPageSize, kPageSize), page_of(5));
  EXPECT_EQ(newborn.bytes(kLibrary + 3 * kPageSize, kPageSize), page_of(9));
  EXPECT_EQ(newborn.bytes(kStack + 15 * kPageSize, kPageSize), page_of(10));

  const wire::TaskSlot& slot = newborn.sync().task(0);
  std::vector<AddressRange> wanted{{slot.area, slot.area + slot.area_size}};
  for (const schema::Vma& vma : task.task().memory().vmas())
    wanted.push_back({vma.start(), vma.end()});
  wanted = merged(wanted);
  for (const OwnMapping& mapping : newborn.mappings()) {
    bool expected = mapping.name == "[vdso]" || mapping.name.rfind("[vvar", 0) == 0;
    for (const AddressRange& range : wanted)
      expected |= range.start <= mapping.range.start && mapping.range.end <= range.end;
    EXPECT_TRUE(expected) << mapping.name << " " << std::hex << mapping.range.start;
  }
  EXPECT_EQ(newborn.bytes(slot.syscall_address, 2).size(), 2u);
}

TEST(RestorerLaunch, protections_and_the_growing_stack_are_kept) {
  Sample task = sample(1);
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  std::string maps = newborn.text("maps");
  EXPECT_NE(maps.find("00400000-00402000 r-xp"), std::string::npos) << maps;
  EXPECT_NE(
      maps.find("10000000-10008000 rw-p 00000000 00:00 0                                  [heap]"),
      std::string::npos)
      << maps;
  EXPECT_NE(maps.find("7f0000000000-7f0000004000 r--p"), std::string::npos) << maps;
  EXPECT_NE(maps.find("7f0000004000-7f0100004000 ---p"), std::string::npos) << maps;
  EXPECT_NE(
      maps.find("7ffffff00000-7ffffff10000 rw-p 00000000 00:00 0                          [stack]"),
      std::string::npos)
      << maps;
  std::string smaps = newborn.text("smaps");
  EXPECT_NE(smaps.find(" gd "), std::string::npos) << smaps;
}

TEST(RestorerLaunch, the_vdso_comes_to_the_recorded_place) {
  Sample task = sample(1);
  std::vector<OwnMapping> own = own_mappings().take();
  vdso::Running running = vdso::running_vdso(own).take();
  const uint64_t base = running.mappings.front().range.start;
  constexpr uint64_t kPlace = 0x7f8000000000;
  schema::Task& record = task.task();
  uint64_t code = 0;
  schema::Memory& memory = *record.mutable_memory();
  for (const vdso::Special& special : running.mappings) {
    const uint64_t start = kPlace + (special.range.start - base);
    schema::Vma* vma =
        add_vma(record, start, (special.range.end - special.range.start) / kPageSize, PROT_READ);
    vma->set_kind(special.code ? schema::VMA_VDSO : schema::VMA_VVAR);
    if (special.code) code = start;
  }
  std::sort(memory.mutable_vmas()->pointer_begin(), memory.mutable_vmas()->pointer_end(),
            [](const schema::Vma* a, const schema::Vma* b) { return a->start() < b->start(); });
  record.mutable_vdso()->set_build_id(vdso::build_id(running.code));
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  EXPECT_EQ(newborn.bytes(code, running.code.size()), running.code);
  std::vector<vdso::Special> now = vdso::special_mappings(newborn.mappings());
  ASSERT_EQ(now.size(), running.mappings.size());
  EXPECT_EQ(now.front().range.start, kPlace);
}

TEST(RestorerLaunch, another_kernels_vdso_stands_where_it_was) {
  Sample task = sample(1);
  vdso::Running running = vdso::running_vdso(own_mappings().take()).take();
  constexpr uint64_t kPlace = 0x7f8000000000;
  schema::Task& record = task.task();
  schema::Vma stack = record.memory().vmas(4);
  record.mutable_memory()->mutable_vmas()->RemoveLast();
  add_vma(record, kPlace, 2, PROT_READ)->set_kind(schema::VMA_VVAR);
  add_vma(record, kPlace + 2 * kPageSize, running.code.size() / kPageSize, PROT_READ | PROT_EXEC)
      ->set_kind(schema::VMA_VDSO);
  *record.mutable_memory()->add_vmas() = stack;
  record.mutable_vdso()->set_build_id("of another kernel");
  record.mutable_vdso()->set_image(running.code);
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  EXPECT_EQ(newborn.bytes(kPlace + 2 * kPageSize, 4),
            "\x7f"
            "ELF");
  EXPECT_EQ(newborn.bytes(kPlace, kPageSize), page_of(0));
  EXPECT_EQ(vdso::special_mappings(newborn.mappings()).size(), running.mappings.size());
}

TEST(RestorerLaunch, threads_have_their_numbers_and_wait) {
  Sample task = sample(5);
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  for (int i = 1; i < 5; i++)
    EXPECT_EQ(
        ::access(strf("/proc/%d/task/%d", newborn.pid(), task.task().threads(i).tid()).c_str(),
                 F_OK),
        0);
  EXPECT_EQ(newborn.sync().header().parked, 5u);
}

TEST(RestorerLaunch, a_dead_leader_is_a_zombie_among_living_threads) {
  Sample task = sample(3);
  task.task().set_dead_leader(true);
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  std::string stat = newborn.text(strf("task/%d/stat", newborn.pid()).c_str());
  EXPECT_NE(stat.find(") Z "), std::string::npos) << stat;
  EXPECT_NE(newborn.text(strf("task/%d/maps", task.task().threads(1).tid()).c_str()), "");
}

struct NoSuchStep {
  static constexpr uint32_t kId = wire::id("nowhere.NoSuchStep");
  uint32_t value;
};

TEST(RestorerLaunch, a_failed_step_names_itself) {
  Sample task = sample(2);
  std::vector<StepList> steps(2);
  steps[1].add(wire::Stage::kThread, NoSuchStep{1});
  Newborn newborn(task, steps);
  EXPECT_FALSE(newborn.park().ok());
  Result<> failure = newborn.sync().failure(task.image);
  ASSERT_FALSE(failure.ok());
  EXPECT_EQ(failure.error().os_error(), ENOSYS);
  EXPECT_NE(failure.error().text().find("sample"), std::string::npos) << failure.error().text();
}

TEST(RestorerLaunch, the_fields_of_the_address_space_are_set) {
  Sample task = sample(1);
  schema::Memory* memory = task.task().mutable_memory();
  memory->set_arg_start(kHeap + kPageSize - 3);  // three bytes of text, then zeroes
  memory->set_arg_end(kHeap + kPageSize + 4);
  memory->set_auxv(std::string(16, 'a') + std::string(16, '\0'));
  Newborn newborn(task);
  ASSERT_EQ(message(newborn.park()), "") << message(newborn.sync().failure(task.image));
  EXPECT_EQ(newborn.text("cmdline"), std::string("\3\3\3\0\0\0\0", 7));
  EXPECT_EQ(newborn.text("auxv").substr(0, 16), std::string(16, 'a'));
}

}  // namespace
}  // namespace ncr
