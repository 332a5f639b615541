// Runs in the child, as the last thing our code does there. Collects what the blob needs into the
// area, tells libc's registrations goodbye and jumps. What the kernel really has is read from
// /proc/self/maps: it may have merged or split what was staged, and one mremap moves one VMA only.
#include "engine/memory/restorer_launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "arch_current/enter_blob.h"
#include "engine/base/ids.h"
#include "engine/base/procfs.h"
#include "engine/base/sys.h"
#include "engine/memory/address_ranges.h"
#include "engine/memory/restorer_area.h"
#include "engine/memory/stage_plan.h"
#include "engine/memory/staged_memory.h"
#include "engine/memory/vdso_placement.h"

namespace ncr {
namespace {

using wire::Stage;

struct EncodedSteps {
  std::string process, thread, late, credentials;
  uint64_t size() const {
    return process.size() + thread.size() + late.size() + credentials.size();
  }
};

EncodedSteps encode(const StepList& steps) {
  return {steps.encode(Stage::kMemory, Stage::kProcess),
          steps.encode(Stage::kThread, Stage::kThread), steps.encode(Stage::kLate, Stage::kLate),
          steps.encode(Stage::kCredentials, Stage::kCredentials)};
}

class Launcher {
 public:
  explicit Launcher(const RestorerLaunch& launch)
      : launch_(launch), memory_(launch.task.memory()) {}
  Result<> build();
  [[noreturn]] void go() const { arch::enter_blob(entry_, stack_top_, arguments_); }

 private:
  Result<> find_places();
  Result<> stand_in_for_vdso();
  Result<> list_moves();
  void list_unmaps();
  void list_locks();
  Result<> fill_area();
  Result<wire::MmMap> mm_fields(RestorerArea& area) const;
  Result<uint32_t> executable() const;
  std::vector<int32_t> numbers_of(size_t thread) const;
  wire::StepSet put(RestorerArea& area, const EncodedSteps& steps) const;
  std::vector<AddressRange> taken() const;

  const RestorerLaunch& launch_;
  const schema::Memory& memory_;
  EncodedSteps steps_;
  std::vector<EncodedSteps> thread_steps_;
  std::vector<OwnMapping> own_;
  VdsoPlacement vdso_;
  AddressRange area_{};
  std::vector<wire::Move> moves_;
  std::vector<wire::AddressRange> unmap_;
  std::vector<wire::Lock> locks_;
  uint64_t entry_ = 0;
  uint64_t stack_top_ = 0;
  uint64_t arguments_ = 0;
};

uint64_t total_size(const std::vector<vdso::Special>& specials) {
  return specials.back().range.end - specials.front().range.start;
}

std::vector<AddressRange> Launcher::taken() const {
  std::vector<AddressRange> ranges;
  for (const OwnMapping& mapping : own_) ranges.push_back(mapping.range);
  for (const schema::Vma& vma : memory_.vmas()) ranges.push_back({vma.start(), vma.end()});
  for (const schema::Vma& vma : memory_.vmas()) {
    const uint64_t staged = staged_address(vma.start(), launch_.shift);
    ranges.push_back({staged, staged + (vma.end() - vma.start())});
  }
  if (area_.end != 0) ranges.push_back(area_);
  return ranges;
}

Result<> Launcher::build() {
  const auto threads = static_cast<size_t>(launch_.task.threads_size());
  if (threads == 0 || launch_.thread_steps.size() != threads)
    return Error::malformed(strf("task %d has %zu threads", launch_.task.pid(), threads));
  steps_ = encode(launch_.steps);
  for (const StepList& steps : launch_.thread_steps) thread_steps_.push_back(encode(steps));
  own_ = TRY(own_mappings());
  TRY(find_places());
  TRY(stand_in_for_vdso());
  TRY(list_moves());
  list_unmaps();
  list_locks();
  TRY(fill_area());
  procfs::look_through({});
  return {};
}

Result<> Launcher::find_places() {
  uint64_t payload = sizeof(wire::RestorerArgs) + memory_.auxv().size() + steps_.size();
  uint64_t pieces = 16;
  for (const EncodedSteps& steps : thread_steps_) {
    payload += steps.size() + sizeof(wire::ThreadArgs) + sizeof(uint64_t) +
               numbers_of(0).size() * sizeof(int32_t);
    pieces += 7;
  }
  // Every mapping we have may be moved, and every gap between them unmapped.
  const auto vmas = static_cast<uint64_t>(memory_.vmas_size());
  payload += (own_.size() + 2 * vmas + 32) * (sizeof(wire::Move) + sizeof(wire::AddressRange)) +
             vmas * sizeof(wire::Lock);
  const uint64_t size = RestorerArea::size_for(payload, pieces, thread_steps_.size(), launch_.sync);
  const uint64_t address = TRY(find_gap(taken(), size, user_space_end()));
  area_ = {address, address + size};
  vdso::Running running = TRY(vdso::running_vdso(own_));
  const uint64_t parking = TRY(find_gap(taken(), total_size(running.mappings), user_space_end()));
  vdso_ = TRY(place_vdso(launch_.image, launch_.task, running, parking));
  return {};
}

// The recorded vDSO of another kernel is memory like any other from now on: staged, then moved.
Result<> Launcher::stand_in_for_vdso() {
  for (const VdsoPlacement::StandIn& part : vdso_.stand_ins) {
    auto* at = reinterpret_cast<char*>(staged_address(part.range.start, launch_.shift));
    const auto size = static_cast<size_t>(part.range.end - part.range.start);
    void* mapped = ::mmap(at, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    TRY(SYSCALL(mapped == MAP_FAILED ? -1 : 0, "mmap of the recorded vDSO"));
    part.code.copy(at, size);
    const int prot = part.code.empty() ? PROT_READ : PROT_READ | PROT_EXEC;
    TRY(SYSCALL(::mprotect(at, size, prot), "mprotect of the recorded vDSO"));
  }
  if (!vdso_.stand_ins.empty()) own_ = TRY(own_mappings());
  return {};
}

Result<> Launcher::list_moves() {
  std::vector<AddressRange> staged, own;
  uint64_t expected = 0;
  auto add = [&](uint64_t start, uint64_t end) {
    const uint64_t at = staged_address(start, launch_.shift);
    staged.push_back({at, at + (end - start)});
    expected += end - start;
  };
  for (const schema::Vma& vma : memory_.vmas())
    if (is_staged(vma)) add(vma.start(), vma.end());
  for (const VdsoPlacement::StandIn& part : vdso_.stand_ins) add(part.range.start, part.range.end);
  std::sort(staged.begin(), staged.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.start < b.start; });
  for (const OwnMapping& mapping : own_) own.push_back(mapping.range);
  for (const AddressRange& range : common(own, staged)) {
    const uint64_t to = staged_address(range.start, uint64_t{0} - launch_.shift);
    moves_.push_back({range.start, to, range.end - range.start});
    expected -= range.end - range.start;
  }
  if (expected != 0)
    return Error::malformed(strf("task %d: %" PRIu64 " bytes of its memory are not staged",
                                 launch_.task.pid(), expected));
  return {};
}

void Launcher::list_unmaps() {
  std::vector<AddressRange> keep{area_};
  for (const wire::Move& move : moves_) keep.push_back({move.from, move.from + move.size});
  for (const wire::Move& move : vdso_.park) keep.push_back({move.from, move.from + move.size});
  // munmap refuses ranges that reach beyond the last page of user space.
  const uint64_t end = std::max(own_.back().range.end, area_.end);
  for (const AddressRange& gap : gaps_between(std::move(keep), end))
    if (gap.start < gap.end) unmap_.push_back(gap);
}

void Launcher::list_locks() {
  for (const schema::Vma& vma : memory_.vmas())
    if (vma.lock() != 0)
      locks_.push_back({.start = vma.start(),
                        .size = vma.end() - vma.start(),
                        .flags = vma.lock() == 2 ? static_cast<uint32_t>(MLOCK_ONFAULT) : 0,
                        .inaccessible = vma.prot() == PROT_NONE ? 1u : 0u});
}

// The kernel refuses a new executable while the old one is still mapped, which it is if both are
// the same file; then there is nothing to change.
Result<uint32_t> Launcher::executable() const {
  if (launch_.exe_fd < 0) return ~0u;
  struct stat ours {
  }, wanted{};
  const procfs::Place exe = procfs::at("self/exe");
  TRY(SYSCALL(::fstatat(exe.directory, exe.path.c_str(), &ours, 0), "stat /proc/self/exe"));
  TRY(SYSCALL(::fstat(launch_.exe_fd, &wanted), "stat the executable"));
  if (ours.st_dev != wanted.st_dev || ours.st_ino != wanted.st_ino)
    return static_cast<uint32_t>(launch_.exe_fd);
  TRY(SYSCALL(::close(launch_.exe_fd), "close the executable"));
  return ~0u;
}

Result<wire::MmMap> Launcher::mm_fields(RestorerArea& area) const {
  const uint32_t exe_fd = TRY(executable());
  return wire::MmMap{.start_code = memory_.start_code(),
                     .end_code = memory_.end_code(),
                     .start_data = memory_.start_data(),
                     .end_data = memory_.end_data(),
                     .start_brk = memory_.start_brk(),
                     .brk = memory_.brk(),
                     .start_stack = memory_.start_stack(),
                     .arg_start = memory_.arg_start(),
                     .arg_end = memory_.arg_end(),
                     .env_start = memory_.env_start(),
                     .env_end = memory_.env_end(),
                     .auxv = area.put(memory_.auxv().data(), memory_.auxv().size()),
                     .auxv_size = static_cast<uint32_t>(memory_.auxv().size()),
                     .exe_fd = exe_fd};
}

std::vector<int32_t> Launcher::numbers_of(size_t thread) const {
  const pid_t tid = launch_.task.threads(static_cast<int>(thread)).tid();
  if (launch_.spaces == nullptr) return {tid};
  std::vector<int32_t> numbers = launch_.spaces->numbers(launch_.spaces->of(launch_.task), tid);
  if (numbers.size() > launch_.chosen_levels) numbers.resize(launch_.chosen_levels);
  return numbers;
}

wire::StepSet Launcher::put(RestorerArea& area, const EncodedSteps& steps) const {
  return {area.put_steps(steps.process), area.put_steps(steps.thread), area.put_steps(steps.late),
          area.put_steps(steps.credentials)};
}

Result<> Launcher::fill_area() {
  RestorerArea area = TRY(RestorerArea::create(area_.start, area_.end - area_.start, launch_.sync));
  wire::RestorerArgs args{};
  arguments_ = area.put(&args, sizeof args);
  std::vector<wire::ThreadArgs> threads;
  for (size_t i = 0; i < thread_steps_.size(); i++) {
    const uint64_t word = 0;
    threads.push_back({.tid = launch_.task.threads(static_cast<int>(i)).tid(),
                       .index = static_cast<uint32_t>(i),
                       .numbers = area.put(numbers_of(i)),
                       .stack = area.take_stack(),
                       .stack_size = RestorerArea::kStackSize,
                       .park = area.put(&word, sizeof word),
                       .restorer = arguments_,
                       .steps = put(area, thread_steps_[i])});
  }
  args.sync = area.sync_address();
  args.task = static_cast<uint32_t>(launch_.task_index);
  args.dead_leader = launch_.task.dead_leader() ? 1 : 0;
  args.unmap = area.put(unmap_);
  args.park_special = area.put(vdso_.park);
  args.moves = area.put(moves_);
  args.place_special = area.put(vdso_.place);
  args.locks = area.put(locks_);
  args.mm = TRY(mm_fields(area));
  args.lock_future = memory_.lock_future();
  args.leader_word = 1;
  const size_t levels =
      launch_.spaces == nullptr ? 1 : launch_.spaces->depth(launch_.spaces->of(launch_.task)) + 1;
  args.asks_for_numbers = launch_.chosen_levels < levels ? 1 : 0;
  args.steps = put(area, steps_);
  args.threads = area.put(threads);
  std::memcpy(reinterpret_cast<void*>(arguments_), &args, sizeof args);
  entry_ = area.entry();
  stack_top_ = threads.front().stack + RestorerArea::kStackSize;
  wire::TaskSlot& slot = launch_.sync.task(launch_.task_index);
  slot.pid = launch_.task.pid();
  slot.area = area.address();
  slot.area_size = area.size();
  slot.syscall_address = vdso_.syscall_address;
  slot.vdso = vdso_.unwanted.start;
  slot.vdso_size = vdso_.unwanted.end - vdso_.unwanted.start;
  return {};
}

// All of them: libc's own wrapper would leave out the two that it uses itself.
Result<> block_signals() {
  const uint64_t all = ~0ull;
  TRY(SYSCALL(::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all),
              "rt_sigprocmask"));
  return {};
}

Result<> enter(const RestorerLaunch& launch) {
  Launcher launcher(launch);
  TRY(block_signals());
  TRY(launcher.build());
  launcher.go();
}

}  // namespace

Error enter_restorer(const RestorerLaunch& launch) {
  return enter(launch).take_error().while_doing(strf("task %d", launch.task.pid()));
}

}  // namespace ncr
