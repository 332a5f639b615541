// The two sides of a CR_TEST meet in files of a scratch folder, opened only for an instant: the
// child appends a line to "asked" and looks now and then whether "answered" has as many lines. So a
// checkpoint finds nothing of the harness in the child, in whatever state it is.
#include "tests/support/checkpoint_test.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include "engine/lazy_pages.h"
#include "tests/support/child_process.h"
#include "tests/support/engine_process.h"
#include "tests/support/scratch.h"
#include "tests/support/test_place.h"

namespace ncr::test {
namespace {

// What the harness allocates on the way to a checkpoint must not move the break, which tests watch.
void settle_heap() {
  ::mallopt(M_TOP_PAD, 256 << 10);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  std::vector<void*> blocks;
  for (int i = 0; i < 16; i++) blocks.push_back(std::malloc(16 << 10));
  for (void* block : blocks) std::free(block);
}

constexpr std::chrono::seconds kPatience{20};

// The child's side of the meeting; in the harness it stays empty.
struct Meeting {
  char asked[128] = "";
  char answered[128] = "";
  char failures[128] = "";
  long cycle = 0;
};
Meeting meeting;

long lines_of(const std::string& text) {
  return static_cast<long>(std::count(text.begin(), text.end(), '\n'));
}

// Failures of the child are written down as three fields, "file\tline\tmessage" with \x01 for a
// newline.
class FailureWriter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::string message = result.message();
    std::replace(message.begin(), message.end(), '\n', '\x01');
    append_to(meeting.failures, strf("%s\t%d\t%s\n", result.file_name() ? result.file_name() : "?",
                                     result.line_number(), message.c_str()));
  }
};

void report_failures(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find('\t');
    const size_t second = line.find('\t', first + 1);
    if (second == std::string::npos) continue;
    std::string message = line.substr(second + 1);
    std::replace(message.begin(), message.end(), '\x01', '\n');
    const std::string source = line.substr(0, first);
    ADD_FAILURE_AT(source.c_str(), std::atoi(line.c_str() + first + 1)) << message;
  }
}

void redirect(const char* path, int flags, int to) {
  int fd = ::open(path, flags, 0600);
  if (fd != to) {
    ::dup2(fd, to);
    ::close(fd);
  }
}

[[noreturn]] void run_child(Body body, const Scratch& scratch) {
  ::setsid();
  redirect("/dev/null", O_RDONLY, 0);
  redirect(scratch.file("stdout").c_str(), O_WRONLY | O_CREAT | O_APPEND, 1);
  redirect(scratch.file("stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND, 2);
  ::close_range(3, ~0u, 0);
  std::snprintf(meeting.asked, sizeof meeting.asked, "%s/asked", scratch.path().c_str());
  std::snprintf(meeting.answered, sizeof meeting.answered, "%s/answered", scratch.path().c_str());
  std::snprintf(meeting.failures, sizeof meeting.failures, "%s/failures", scratch.path().c_str());
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailureWriter);
  try {
    body();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  append_to(scratch.file("finished"), strf("%d\n", ::getpid()));
  std::fflush(nullptr);
  ::_exit(0);
}

// The harness's side: one test, one child.
class Run {
 public:
  Run(const Options& options, Place place) : options_(options), place_(place) {}
  ~Run() { kill_descendants(); }

  void go(Body body) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::fflush(nullptr);
    settle_heap();
    Result<pid_t> started = start_in(place_, scratch_.path(), [&] { run_child(body, scratch_); });
    if (!started.ok()) {
      ADD_FAILURE() << started.error().text();
      return;
    }
    pid_ = started.value();
    watch();
    await_daemon();
    report_failures(scratch_.file("failures"));
    if (testing::Test::HasFailure()) show_output();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Until the child ends: what it asks for is done. The patience begins anew with every checkpoint.
  void watch() {
    auto deadline = Clock::now() + kPatience;
    for (;;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        if (status != 0 || !file_exists(scratch_.file("finished")))
          ADD_FAILURE() << "the test process ended early: " << describe_exit(status);
        return;
      }
      if (lines_of(file_text(scratch_.file("asked"))) > answered_) {
        if (!serve()) return;
        deadline = Clock::now() + kPatience;
      }
      if (Clock::now() > deadline) {
        ADD_FAILURE() << "the test process hangs: " << describe_process(pid_);
        return;
      }
      ::usleep(1000);
    }
  }

  bool serve() {
    if (file_text(scratch_.file("asked")).ends_with("pre-dump\n")) {
      if (!pre_dump()) return false;
      answered_++;
      append_to(scratch_.file("answered"), "go on\n");
      return true;
    }
    for (int i = 0; i < options_.cycles; i++)
      if (!cycle()) return false;
    answered_++;
    append_to(scratch_.file("answered"), "go on\n");
    return true;
  }

  // The next image of a chain.
  DumpRequest next_link() {
    DumpRequest dump;
    dump.pid = pid_;
    dump.images_dir = chain_.file(strf("%d", links_));
    dump.shell_job = options_.shell_job;
    if (links_ > 0) dump.parent_images = strf("../%d", links_ - 1);
    links_++;
    return dump;
  }

  bool pre_dump() {
    const DumpRequest request = next_link();
    const std::string error = engine("pre-dump", [&] { return engine_predump(request); });
    if (!error.empty()) ADD_FAILURE() << error;
    return error.empty();
  }

  // The daemon that fills the memory of a lazily restored tree.
  void start_daemon(const std::string& images) {
    LazyPagesRequest request;
    request.images_dir = images;
    daemon_ = fork_child([request] {
      Result<PagerReport> served = serve_lazy_pages(request);
      if (!served.ok()) throw std::runtime_error(served.error().text());
    });
    while (!file_exists(images + "/" + kLazyPagesSocket) && ::kill(daemon_, 0) == 0) ::usleep(1000);
  }

  void await_daemon() {
    if (daemon_ <= 0) return;
    int status = 0;
    if (!wait_exit(daemon_, &status, kPatience))
      ADD_FAILURE() << "lazy pages: the daemon hangs: " << describe_process(daemon_);
    else if (status != 0)
      ADD_FAILURE() << "lazy pages: the daemon failed: " << describe_exit(status);
    daemon_ = -1;
  }

  bool cycle() {
    await_daemon();
    images_ = std::make_unique<Scratch>(kMemory);
    const Scratch& images = *images_;
    DumpRequest dump;
    if (links_ > 0)
      dump = next_link();
    else
      dump.images_dir = images.path();
    dump.pid = pid_;
    dump.final_state = options_.final_state;
    dump.shell_job = options_.shell_job;
    dump.tcp = options_.tcp;
    dump.tcp_skip_in_flight = options_.tcp_skip_in_flight;
    dump.network_lock = options_.network_lock;
    const std::string refusal =
        engine(strf("dump %d", cycles_done_ + 1), [&] { return engine_dump(dump); });
    if (!options_.refused_with.empty()) {
      EXPECT_NE(refusal.find(options_.refused_with), std::string::npos)
          << "the dump should be refused with \"" << options_.refused_with
          << "\", but: " << (refusal.empty() ? "it succeeded" : refusal);
      return !refusal.empty();
    }
    if (!refusal.empty()) {
      ADD_FAILURE() << refusal;
      return false;
    }
    if (options_.final_state == FinalState::kStop) ::kill(pid_, SIGCONT);
    return options_.final_state != FinalState::kKill || restore(dump.images_dir);
  }

  bool restore(const std::string& images) {
    int status = 0;
    if (!wait_exit(pid_, &status, kPatience)) {
      ADD_FAILURE() << "the dump left the test process alive: " << describe_process(pid_);
      return false;
    }
    collect_zombies();
    RestoreRequest request;
    request.images_dir = images;
    request.shell_job = options_.shell_job;
    request.tcp = options_.tcp;
    request.lazy_pages = options_.lazy_pages;
    if (options_.lazy_pages) start_daemon(images);
    const std::string error =
        engine(strf("restore %d", cycles_done_ + 1), [&] { return restore_and_tell(request); });
    if (!error.empty()) ADD_FAILURE() << error;
    if (error.empty()) pid_ = std::atoi(file_text(scratch_.file("root-pid")).c_str());
    cycles_done_++;
    return error.empty();
  }

  // Our number of a root in a pid namespace of its own is another one every time.
  Result<> restore_and_tell(const RestoreRequest& request) const {
    const pid_t root = TRY(engine_restore(request));
    ::unlink(scratch_.file("root-pid").c_str());
    append_to(scratch_.file("root-pid"), strf("%d\n", root));
    return {};
  }

  std::string engine(const std::string& what, const std::function<Result<>()>& work) {
    const std::string error = in_engine_process(scratch_.path(), work, 20);
    return error.empty() ? error : what + ": " + error;
  }

  void show_output() const {
    for (const char* name : {"stdout", "stderr", "engine-log"}) {
      const std::string text = file_text(scratch_.file(name));
      if (!text.empty()) std::fprintf(stderr, "---- %s ----\n%s\n", name, text.c_str());
    }
  }

  static inline const char* const kMemory = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  Options options_;
  Place place_;
  Scratch scratch_;
  Scratch chain_{kMemory};
  int links_ = 0;
  std::unique_ptr<Scratch> images_;
  pid_t daemon_ = -1;
  pid_t pid_ = -1;
  long answered_ = 0;
  int cycles_done_ = 0;
};

}  // namespace

void run_checkpoint_test(Body body, const Options& options) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const testing::TestInfo& info = *testing::UnitTest::GetInstance()->current_test_info();
  const std::string suite = info.test_suite_name();
  const std::string test = suite.substr(suite.find('_') + 1) + "." + info.name();
  const Place place = place_of(suite);
  if (std::string reason = exception_of(place, test); !reason.empty()) GTEST_SKIP() << reason;
  Run(options, place).go(body);
}

void must_failed(const char* file, int line, const char* expression, const Error& error) {
  throw std::runtime_error(
      strf("%s:%d: MUST(%s): %s", file, line, expression, error.text().c_str()));
}

std::string in_engine_process(const std::string& scratch, const std::function<Result<>()>& work,
                              int timeout_s) {
  const std::string outcome = scratch + "/engine-outcome";
  const std::string log = scratch + "/engine-log";
  ::unlink(outcome.c_str());
  const pid_t pid = fork_child([&] {
    redirect(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 1);
    redirect(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 2);
    Result<> result = work();
    append_to(outcome, result.ok() ? "ok" : "error: " + result.error().text());
    std::fflush(nullptr);
  });
  int status = 0;
  if (!wait_exit(pid, &status, std::chrono::seconds(timeout_s))) {
    const std::string where = describe_process(pid);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return "the engine hangs: " + where;
  }
  const std::string text = file_text(outcome);
  if (text == "ok" && status == 0) return "";
  return text.starts_with("error: ") ? text.substr(7) : "the engine died: " + describe_exit(status);
}

}  // namespace ncr::test

namespace {

void ask_for(const char* what) {
  using ncr::test::meeting;
  if (meeting.asked[0] == '\0')
    throw std::runtime_error(std::string(what) + " was asked for outside of a CR_TEST");
  meeting.cycle++;
  ncr::test::append_to(meeting.asked, std::string(what) + "\n");
  const timespec pause{0, 1'000'000};
  while (ncr::test::lines_of(ncr::test::file_text(meeting.answered)) < meeting.cycle)
    ::nanosleep(&pause, nullptr);
}

}  // namespace

void checkpoint_restore() { ask_for("checkpoint"); }
void pre_dump() { ask_for("pre-dump"); }
