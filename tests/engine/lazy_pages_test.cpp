// Trees that run before they have their memory.
#include "engine/lazy_pages.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/memory/lazy_handover.h"
#include "engine/memory/page_fill.h"
#include "engine/page_server.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/engine_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

constexpr size_t kPages = 8192;  // 32 MiB: more than is there when the tree begins to run

char* map_pages(size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
  void* at = ::mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, flags, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

uint64_t* page_at(char* at, size_t i) { return reinterpret_cast<uint64_t*>(at + i * kPageSize); }

void number(char* at, size_t pages) {
  for (size_t i = 0; i < pages; i++) *page_at(at, i) = i + 1;
}

// How many pages are not as number() left them; from the end, where the pager comes last.
size_t wrong(char* at, size_t first, size_t end) {
  size_t count = 0;
  for (size_t i = end; i-- > first;)
    if (*page_at(at, i) != i + 1) count++;
  return count;
}

CR_TEST_WITH(lazy_pages, every_page_comes_as_it_was, .lazy_pages = true) {
  char* at = map_pages(kPages);
  number(at, kPages);
  char* never = map_pages(10);
  char* shared = map_pages(100, MAP_SHARED | MAP_ANONYMOUS);
  number(shared, 100);
  checkpoint_restore();
  EXPECT_EQ(*page_at(at, kPages - 1), kPages);
  EXPECT_EQ(*page_at(never, 3), 0u);
  *page_at(at, kPages - 1000) = 7;
  EXPECT_EQ(wrong(at, kPages - 999, kPages), 0u);
  EXPECT_EQ(wrong(at, 0, kPages - 1000), 0u);
  EXPECT_EQ(*page_at(at, kPages - 1000), 7u);
  EXPECT_EQ(wrong(shared, 0, 100), 0u);
}

CR_TEST_WITH(lazy_pages, a_child_forked_meanwhile_has_its_own, .cycles = 1, .lazy_pages = true) {
  char* at = map_pages(kPages);
  number(at, kPages);
  checkpoint_restore();
  const pid_t child = ::fork();
  if (child == 0) {
    for (size_t i = kPages / 2; i < kPages; i++) *page_at(at, i) += 100;
    size_t bad = wrong(at, 0, kPages / 2);
    for (size_t i = kPages / 2; i < kPages; i++) bad += *page_at(at, i) != i + 101;
    ::_exit(bad == 0 ? 0 : 1);
  }
  EXPECT_EQ(wrong(at, 0, kPages), 0u);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

CR_TEST_WITH(lazy_pages, mappings_may_go_and_move_meanwhile, .cycles = 1, .lazy_pages = true) {
  char* at = map_pages(kPages);
  number(at, kPages);
  checkpoint_restore();
  // From the end, so that most of it is still missing.
  const size_t kQuarter = kPages / 4;
  ASSERT_EQ(::madvise(at + 3 * kQuarter * kPageSize, kQuarter / 2 * kPageSize, MADV_DONTNEED), 0);
  ASSERT_EQ(::munmap(at + 2 * kQuarter * kPageSize, kQuarter * kPageSize), 0);
  char* place = map_pages(kQuarter);
  ASSERT_EQ(::mremap(at + kQuarter * kPageSize, kQuarter * kPageSize, kQuarter * kPageSize,
                     MREMAP_MAYMOVE | MREMAP_FIXED, place),
            place);
  ASSERT_EQ(::mprotect(at + 10 * kPageSize, 5 * kPageSize, PROT_READ), 0);
  for (size_t i = 0; i < kQuarter; i++) ASSERT_EQ(*page_at(place, i), kQuarter + i + 1);
  for (size_t i = 0; i < kQuarter / 2; i++) ASSERT_EQ(*page_at(at, 3 * kQuarter + i), 0u);
  EXPECT_EQ(wrong(at, 3 * kQuarter + kQuarter / 2, kPages), 0u);
  EXPECT_EQ(wrong(at, 0, kQuarter), 0u);
}

CR_TEST_WITH(lazy_pages, a_tree_of_several_gets_all_of_it, .lazy_pages = true) {
  char* at = map_pages(kPages / 4);
  number(at, kPages / 4);
  volatile char* go = map_pages(1, MAP_SHARED | MAP_ANONYMOUS);
  pid_t children[3];
  for (char i = 0; i < 3; i++) {
    children[static_cast<int>(i)] = ::fork();
    if (children[static_cast<int>(i)] != 0) continue;
    *page_at(at, 5) = 6 + static_cast<uint64_t>(i);
    while (go[0] == 0) ::usleep(1000);
    const bool good = *page_at(at, 5) == 6 + static_cast<uint64_t>(i) &&
                      wrong(at, 6, kPages / 4) + wrong(at, 0, 5) == 0;
    ::_exit(good ? 0 : 1);
  }
  checkpoint_restore();
  go[0] = 1;
  EXPECT_EQ(wrong(at, 0, kPages / 4), 0u);
  for (pid_t child : children) {
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

// A tree moves from a dump that serves its pages to a restore that asks for them.
class cr_lazy_remote : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    listener_ = MUST(listen_at("127.0.0.1", 0));
    target_ = ::fork();
    if (target_ == 0) live();
    while (!test::file_exists(scratch_.file("ready"))) ::usleep(1000);
    request_.pid = target_;
    request_.images_dir = scratch_.file("image");
    request_.lazy_pages = true;
    request_.page_server = listener_.get();
  }
  void TearDown() override { test::kill_descendants(); }

  [[noreturn]] void live() {
    ::setsid();
    ::close_range(3, ~0u, 0);
    for (int fd = 0; fd < 3; fd++) {
      ::close(fd);
      (void)!::open("/dev/null", O_RDWR);
    }
    char* at = map_pages(kPages);
    number(at, kPages);
    test::append_to(scratch_.file("ready"), "x");
    while (!test::file_exists(scratch_.file("check"))) ::usleep(1000);
    test::append_to(scratch_.file("result"), wrong(at, 0, kPages) == 0 ? "good" : "bad");
    for (;;) ::pause();
  }

  // Answers the dump's hook, so that the image is known to be complete.
  pid_t start_dump() {
    DumpRequest request = request_;
    const std::string served = scratch_.file("served");
    request.callbacks.hook = [served](const Hook& hook) -> Result<> {
      if (std::string(hook.name) == "status-ready") test::append_to(served, "x");
      return {};
    };
    const pid_t pid = test::fork_child([request] {
      Result<DumpReport> done = dump(request);
      if (!done.ok()) throw std::runtime_error(done.error().text());
      if (done.value().pages_lazy < kPages) throw std::runtime_error("few lazy pages");
    });
    while (!test::file_exists(served) && ::kill(pid, 0) == 0) ::usleep(1000);
    return pid;
  }

  Fd connect() {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), size), 0);
    return socket;
  }

  pid_t start_daemon() {
    Fd socket = connect();
    LazyPagesRequest request;
    request.images_dir = request_.images_dir;
    request.page_server = socket.get();
    const pid_t pid = test::fork_child([request] {
      Result<PagerReport> served = serve_lazy_pages(request);
      if (!served.ok()) throw std::runtime_error(served.error().text());
    });
    const std::string path = scratch_.file("image/lazy-pages.socket");
    while (!test::file_exists(path) && ::kill(pid, 0) == 0) ::usleep(1000);
    return pid;
  }

  // In a pid namespace of its own, for the original still has its number. The process that this
  // returns exits with the status of the restored root, or with 100 if it was killed.
  pid_t restore_elsewhere() {
    RestoreRequest request;
    request.images_dir = request_.images_dir;
    request.lazy_pages = true;
    const std::string outcome = scratch_.file("restored");
    return test::fork_child([request, outcome] {
      MUST(SYSCALL(::unshare(CLONE_NEWPID | CLONE_NEWNS), "unshare"));
      const pid_t init = ::fork();
      if (init != 0) {
        int status = 0;
        ::waitpid(init, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
      }
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
      ::mount("proc", "/proc", "proc", 0, nullptr);
      Result<RestoreReport> done = restore(request);
      test::append_to(outcome, done.ok() ? "ok" : done.error().text());
      if (!done.ok()) ::_exit(98);
      int status = 0;
      ::waitpid(done.value().root_pid, &status, 0);
      ::_exit(WIFSIGNALED(status) ? 100 : WEXITSTATUS(status));
    });
  }

  std::string await(const std::string& name) {
    const std::string path = scratch_.file(name);
    for (int i = 0; i < 20'000 && test::file_text(path).empty(); i++) ::usleep(1000);
    return test::file_text(path);
  }

  int status_of(pid_t pid) {
    int status = -1;
    EXPECT_TRUE(test::wait_exit(pid, &status, std::chrono::seconds(20)))
        << test::describe_process(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  test::Scratch scratch_;
  Fd listener_;
  pid_t target_ = 0;
  DumpRequest request_;
};

TEST_F(cr_lazy_remote, a_tree_moves_while_it_runs) {
  const pid_t dumper = start_dump();
  const pid_t daemon = start_daemon();
  const pid_t restored = restore_elsewhere();
  ASSERT_EQ(await("restored"), "ok");
  EXPECT_EQ(status_of(daemon), 0);
  EXPECT_EQ(status_of(dumper), 0);
  int status = 0;
  ASSERT_TRUE(test::wait_exit(target_, &status, std::chrono::seconds(20)))
      << "the tree is still where it was";
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  test::append_to(scratch_.file("check"), "x");
  EXPECT_EQ(await("result"), "good");
  ::kill(restored, SIGKILL);
}

TEST_F(cr_lazy_remote, a_tree_whose_pager_is_killed_dies) {
  const pid_t dumper = start_dump();
  const pid_t daemon = start_daemon();
  ::kill(dumper, SIGSTOP);  // it never gets a page
  const pid_t restored = restore_elsewhere();
  ASSERT_EQ(await("restored"), "ok");
  std::vector<pid_t> pager;
  while ((pager = test::children_of(daemon)).empty()) ::usleep(1000);
  test::append_to(scratch_.file("check"), "x");
  ::usleep(20'000);
  ::kill(pager.front(), SIGKILL);
  EXPECT_EQ(status_of(daemon), 1);
  EXPECT_EQ(status_of(restored), 100);
  EXPECT_FALSE(test::file_exists(scratch_.file("result")));
  // The tree is not lost: it runs on, or is left stopped if pages have gone out.
  ::kill(dumper, SIGCONT);
  EXPECT_EQ(status_of(dumper), 1);
  ::kill(target_, SIGCONT);
  EXPECT_EQ(await("result"), "good");
}

TEST_F(cr_lazy_remote, an_ordinary_restore_says_where_the_pages_are) {
  const pid_t dumper = start_dump();
  Result<Image> image = Image::open(request_.images_dir, PageCheck::kVerify);
  ASSERT_TRUE(image.ok()) << image.error().text();
  EXPECT_NE(image.value().remote_start, 0u);
  const schema::PageRun* remote = nullptr;
  for (const schema::PageRun& run : image.value().task_pages.at(target_).runs())
    if (run.stored() >= image.value().remote_start && run.has_stored()) remote = &run;
  ASSERT_NE(remote, nullptr);
  char page[kPageSize];
  const FillSpan span{reinterpret_cast<uint64_t>(page), kPageSize, remote->stored(), false};
  Result<> filled = fill_pages(image.value().pages, {span}, 1);
  ASSERT_FALSE(filled.ok());
  EXPECT_NE(filled.error().text().find("restore it with lazy pages"), std::string::npos);
  ::kill(dumper, SIGKILL);
  EXPECT_EQ(status_of(dumper), -1);
  // Nobody has fetched anything: the tree runs on.
  test::append_to(scratch_.file("check"), "x");
  EXPECT_EQ(await("result"), "good");
}

TEST(lazy_pages_daemon, a_restore_of_another_image_is_sent_away) {
  test::Scratch scratch;
  Result<Fd> listener = lazy_wire::listen_at(scratch.file("socket"));
  ASSERT_TRUE(listener.ok()) << listener.error().text();
  // A second daemon is told; what a dead one left is no hindrance.
  EXPECT_FALSE(lazy_wire::listen_at(scratch.file("socket")).ok());
  listener = Fd();
  EXPECT_TRUE(lazy_wire::listen_at(scratch.file("socket")).ok());
  Result<Fd> nobody = greet_lazy_pages(scratch.file("nowhere"), std::string(16, 'u'));
  ASSERT_FALSE(nobody.ok());
  EXPECT_NE(nobody.error().text().find("is nativecr lazy-pages running?"), std::string::npos);
}

}  // namespace
}  // namespace ncr
