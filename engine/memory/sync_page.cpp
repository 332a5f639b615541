// Runs in the coordinator and in the children. One shared anonymous mapping, made before the first
// fork: counters that are futexes, a slot per task, a slot per thread. A child that dies can tell
// nobody, so every wait looks up now and then and asks its caller's check.
#include "engine/memory/sync_page.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <utility>

#include "engine/base/ids.h"
#include "engine/base/sys.h"

namespace ncr {
namespace {

constexpr long kLookUpNs = 20'000'000;

uint32_t load(uint32_t& word) { return std::atomic_ref(word).load(); }
void add_to(uint32_t& word, uint32_t amount) { std::atomic_ref(word).fetch_add(amount); }

void wake(uint32_t& word) {
  (void)::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Returns on a wake-up, a changed word, a signal or after 20 ms: callers look again.
void wait_a_little(uint32_t& word, uint32_t seen) {
  timespec timeout{0, kLookUpNs};
  (void)::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

}  // namespace

SyncPage::SyncPage(void* memory, uint64_t size)
    : header_(static_cast<wire::SyncHeader*>(memory)), size_(size) {}

SyncPage::SyncPage(SyncPage&& other) noexcept
    : header_(std::exchange(other.header_, nullptr)), size_(other.size_) {}

SyncPage& SyncPage::operator=(SyncPage&& other) noexcept {
  std::swap(header_, other.header_);
  std::swap(size_, other.size_);
  return *this;
}

SyncPage::~SyncPage() {
  if (header_ != nullptr) ::munmap(header_, size_);
}

Result<SyncPage> SyncPage::create(const std::vector<uint32_t>& threads) {
  uint64_t all_threads = 0;
  for (uint32_t count : threads) all_threads += count;
  const uint64_t task_slots = sizeof(wire::SyncHeader);
  const uint64_t thread_slots = task_slots + threads.size() * sizeof(wire::TaskSlot);
  const uint64_t size = page_ceil(thread_slots + all_threads * sizeof(wire::ThreadSlot));
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  TRY(SYSCALL(memory == MAP_FAILED ? -1 : 0, "mmap of the memory shared with the tasks"));
  SyncPage page(memory, size);
  wire::SyncHeader& header = page.header();
  header.tasks = static_cast<uint32_t>(threads.size());
  header.threads = static_cast<uint32_t>(all_threads);
  header.task_slots = task_slots;
  header.thread_slots = thread_slots;
  uint32_t first = 0;
  for (size_t i = 0; i < threads.size(); i++) {
    page.task(i).first_thread = first;
    page.task(i).threads = threads[i];
    first += threads[i];
  }
  return page;
}

wire::TaskSlot& SyncPage::task(size_t index) const {
  char* slots = reinterpret_cast<char*>(header_) + header_->task_slots;
  return reinterpret_cast<wire::TaskSlot*>(slots)[index];
}

wire::ThreadSlot& SyncPage::thread(size_t task_index, size_t thread_index) const {
  char* slots = reinterpret_cast<char*>(header_) + header_->thread_slots;
  return reinterpret_cast<wire::ThreadSlot*>(slots)[task(task_index).first_thread + thread_index];
}

void SyncPage::add(size_t counter, uint32_t amount) const {
  add_to(header_->counters[counter], amount);
  wake(header_->counters[counter]);
}

Result<> SyncPage::wait(size_t counter, uint32_t value, const Check& check) const {
  uint32_t& word = header_->counters[counter];
  for (uint32_t seen = load(word); seen < value; seen = load(word)) {
    if (load(header_->abort) != 0)
      return Error(ErrorCode::kCancelled, "the restore was given up elsewhere");
    wait_a_little(word, seen);
    TRY(check());
  }
  return {};
}

// Blobs bump the event word after the last change they make, so a change that is not seen here
// still wakes us.
Result<> SyncPage::wait_threads(uint32_t& word, const Check& check) const {
  for (;;) {
    const uint32_t event = load(header_->event);
    if (load(header_->failed) != 0 || load(header_->text_state) == 2)
      return Error(ErrorCode::kSystem, "a task could not be restored");
    if (load(word) >= header_->threads) return {};
    wait_a_little(header_->event, event);
    TRY(check());
  }
}

Result<> SyncPage::wait_ready(const Check& check) const {
  return wait_threads(header_->ready, check);
}

Result<> SyncPage::wait_parked(const Check& check) const {
  return wait_threads(header_->parked, check);
}

void SyncPage::open_gate() const {
  std::atomic_ref(header_->gate).store(1);
  wake(header_->gate);
}

void SyncPage::abort() const {
  std::atomic_ref(header_->abort).store(1);
  for (uint32_t& counter : header_->counters) wake(counter);
  open_gate();
}

void SyncPage::report_failure(size_t task_index, const Error& error) const {
  uint32_t none = 0;
  if (!std::atomic_ref(header_->text_state).compare_exchange_strong(none, 1)) return;
  const size_t length = std::min(error.text().size(), sizeof header_->text - 1);
  std::memcpy(header_->text, error.text().data(), length);
  task(task_index).reported = 1;
  header_->text_code = static_cast<int32_t>(error.code());
  std::atomic_ref(header_->text_state).store(2);
  add_to(header_->event, 1);
  wake(header_->event);
}

namespace {

std::string describe(const wire::ThreadSlot& slot, const schema::Task& task) {
  std::string what = strf("task %d (%s): thread %d: %s", task.pid(), task.comm().c_str(), slot.tid,
                          step_name(slot.step).c_str());
  if (slot.detail != 0) what += strf(" (%#lx)", static_cast<unsigned long>(slot.detail));
  return what;
}

// A thread that was only told to give up is not the one to name.
bool failed_itself(const wire::ThreadSlot& slot) {
  return slot.state == static_cast<uint32_t>(wire::ThreadState::kFailed) &&
         slot.step != static_cast<uint32_t>(wire::Act::kGate);
}

}  // namespace

Result<> SyncPage::failure(const Image& image) const {
  if (load(header_->text_state) == 2)
    return Error(static_cast<ErrorCode>(header_->text_code), header_->text);
  for (size_t i = 0; i < header_->tasks; i++)
    for (size_t k = 0; k < task(i).threads; k++) {
      const wire::ThreadSlot& slot = thread(i, k);
      if (!failed_itself(slot)) continue;
      for (const schema::Task& record : image.tasks)
        if (record.pid() == task(i).pid) return Error::system(slot.error, describe(slot, record));
    }
  return {};
}

std::string step_name(uint32_t id) {
  switch (static_cast<wire::Act>(id)) {
    case wire::Act::kUnmap:
      return "unmapping the engine";
    case wire::Act::kParkVdso:
      return "moving the vDSO out of the way";
    case wire::Act::kMove:
      return "moving memory to its place";
    case wire::Act::kPlaceVdso:
      return "moving the vDSO to its place";
    case wire::Act::kMmMap:
      return "setting the fields of the address space (PR_SET_MM_MAP)";
    case wire::Act::kExeFd:
      return "closing the executable";
    case wire::Act::kLock:
      return "locking memory";
    case wire::Act::kThread:
      return "creating a thread with its number (clone3)";
    case wire::Act::kGate:
      return "given up because another task failed";
    case wire::Act::kUnknownStep:
      return "a step that this restorer does not know";
  }
  switch (id) {
#define STEP(room, Struct)          \
  case wire::id(#room "." #Struct): \
    return #room "." #Struct;
#include "pie/steps.inc"
#undef STEP
    default:
      return strf("step %#x", id);
  }
}

}  // namespace ncr
