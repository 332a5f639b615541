#include "engine/resources/vdso/vdso.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "engine/base/sys.h"
#include "engine/resources/vdso/elf_functions.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr::vdso {
namespace {

Running ours() { return running_vdso(own_mappings().take()).take(); }

uint64_t address_of_code() {
  for (const Special& special : ours().mappings)
    if (special.code) return special.range.start;
  return 0;
}

TEST(Vdso, special_mappings_are_found_in_any_split) {
  std::vector<OwnMapping> mappings{{{0x1000, 0x2000}, "/lib"},
                                   {{0x2000, 0x6000}, "[vvar]"},
                                   {{0x6000, 0x8000}, "[vvar_vclock]"},
                                   {{0x8000, 0xa000}, "[vdso]"},
                                   {{0xb000, 0xc000}, "[stack]"}};
  std::vector<Special> specials = special_mappings(mappings);
  ASSERT_EQ(specials.size(), 3u);
  EXPECT_FALSE(specials[1].code);
  EXPECT_TRUE(specials[2].code);
}

TEST(Vdso, layouts_are_the_same_wherever_they_are) {
  std::vector<Special> a{{{0x1000, 0x2000}, false}, {{0x2000, 0x4000}, true}};
  std::vector<Special> b{{{0x9000, 0xa000}, false}, {{0xa000, 0xc000}, true}};
  std::vector<Special> longer{{{0x9000, 0xb000}, false}, {{0xb000, 0xd000}, true}};
  EXPECT_TRUE(same_layout(a, b));
  EXPECT_FALSE(same_layout(a, longer));
  EXPECT_FALSE(same_layout(a, {}));
}

TEST(Vdso, this_kernels_code_has_functions_a_build_id_and_a_system_call) {
  Running running = ours();
  EXPECT_FALSE(build_id(running.code).empty());
  EXPECT_TRUE(find_system_call(running.code).ok());
  EXPECT_GE(functions_of(running.code).size(), 3u);
}

TEST(Vdso, bytes_that_are_no_library_have_no_functions) {
  EXPECT_TRUE(functions_of("").empty());
  EXPECT_TRUE(functions_of(std::string(4096, 'x')).empty());
  std::string broken = ours().code;
  for (size_t at = 0; at < 64; at++) {
    std::string code = broken;
    code[at] = static_cast<char>(0xff);
    (void)functions_of(code);
    (void)build_id(code);
    (void)functions_of(code.substr(0, at * 50));
  }
}

using ClockGettime = int (*)(clockid_t, timespec*);

// Executes the redirected code, as a restored program would.
void expect_the_time(const std::string& code) {
  void* memory =
      ::mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memcpy(memory, code.data(), code.size());
  ASSERT_EQ(::mprotect(memory, code.size(), PROT_READ | PROT_EXEC), 0);
  for (const Function& function : functions_of(code)) {
    if (function.name != "__vdso_clock_gettime") continue;
    auto call = reinterpret_cast<ClockGettime>(static_cast<char*>(memory) + function.offset);
    timespec before{}, now{}, after{};
    ::clock_gettime(CLOCK_MONOTONIC, &before);
    EXPECT_EQ(call(CLOCK_MONOTONIC, &now), 0);
    ::clock_gettime(CLOCK_MONOTONIC, &after);
    auto ns = [](const timespec& t) { return t.tv_sec * 1'000'000'000l + t.tv_nsec; };
    EXPECT_LE(ns(before), ns(now));
    EXPECT_LE(ns(now), ns(after));
  }
  ::munmap(memory, code.size());
}

TEST(Vdso, redirected_functions_end_in_the_running_vdso) {
  Running running = ours();
  expect_the_time(redirect(running.code, running.code, address_of_code()).take());
}

TEST(Vdso, functions_that_this_kernel_lacks_make_the_system_call) {
  Running running = ours();
  expect_the_time(redirect(running.code, std::string(4096, '\0'), 0).take());
}

CR_TEST(vdso, clocks_are_read_without_a_system_call_as_before) {
  const uint64_t address = address_of_code();
  checkpoint_restore();
  EXPECT_EQ(address_of_code(), address);
  timespec now{};
  EXPECT_EQ(::clock_gettime(CLOCK_MONOTONIC, &now), 0);
  expect_the_time(redirect(ours().code, ours().code, address).take());
}

// libc remembers where the functions of the vDSO were: nothing that may tell the time is called.
void live_without_vdso(int ready) {
  for (const Special& special : ours().mappings)
    ASSERT_EQ(::munmap(reinterpret_cast<void*>(special.range.start),
                       special.range.end - special.range.start),
              0);
  ASSERT_EQ(::write(ready, "", 1), 1);
  for (;;) ::pause();
}

CR_TEST(vdso, a_task_that_unmapped_its_own_gets_none) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = test::fork_child([&] { live_without_vdso(ready[1]); });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  checkpoint_restore();
  const std::string maps = MUST(sys::read_file(strf("/proc/%d/maps", child).c_str()));
  EXPECT_NE(maps.find("[stack]"), std::string::npos);
  for (const char* name : {"[vdso]", "[vvar"})
    EXPECT_EQ(maps.find(name), std::string::npos) << maps;
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

}  // namespace
}  // namespace ncr::vdso
