// CR_TEST(room, sentence) { ...; checkpoint_restore(); ... }: a process that checkpoints itself and
// checks itself afterwards. The body runs in a child that leads a session of its own, has /dev/null
// and two regular files as stdio and no other descriptor. Every checkpoint_restore() is two cycles
// of dump and restore. EXPECT_* and ASSERT_* work in the child and in children of it. The same body
// runs in new namespaces as well, below their init: tests/support/test_place.h.
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "engine/base/result.h"
#include "engine/request.h"

namespace ncr::test {

// What a test may change of the requests, before the child is forked.
struct Options {
  int cycles = 2;  // per checkpoint_restore()
  ShellJob shell_job = ShellJob::kRefuse;
  FinalState final_state = FinalState::kKill;  // kRun, kStop: a dump only, the tree is not restored
  TcpPolicy tcp = TcpPolicy::kRefuse;          // of dump and restore
  bool tcp_skip_in_flight = false;
  NetworkLockMethod network_lock = NetworkLockMethod::kNftables;
  bool lazy_pages = false;        // the restored tree runs while a daemon fills its memory
  std::string refused_with = "";  // not empty: the dump must fail, with this text in its error;
                                  // then the body goes on
};

using Body = void (*)();
void run_checkpoint_test(Body body, const Options& options = {});

[[noreturn]] void must_failed(const char* file, int line, const char* expression,
                              const Error& error);

}  // namespace ncr::test

// Returns in the restored process. Keeps no descriptor, mapping or signal state of its own.
void checkpoint_restore();

// Returns when a pre-dump of this process has been made, a child of it or not. Dumps of
// checkpoint_restore() are incremental from then on: to the last pre-dump or dump.
void pre_dump();

// The value of a Result, or the end of this test.
#define MUST(expr)                                                               \
  __extension__({                                                                \
    auto&& must_result_ = (expr);                                                \
    if (!must_result_.ok())                                                      \
      ::ncr::test::must_failed(__FILE__, __LINE__, #expr, must_result_.error()); \
    std::move(must_result_).take();                                              \
  })

// CR_TEST_WITH(room, sentence, .shell_job = ..., .cycles = 1) { body }
// The same body in every place (tests/support/test_place.h), each a test of its own.
#define CR_TEST_WITH(room, sentence, ...)                 \
  static void ncr_body_##room##_##sentence();             \
  NCR_TEST_IN(cr_##room, room, sentence, __VA_ARGS__)     \
  NCR_TEST_IN(pidns_##room, room, sentence, __VA_ARGS__)  \
  NCR_TEST_IN(allns_##room, room, sentence, __VA_ARGS__)  \
  NCR_TEST_IN(userns_##room, room, sentence, __VA_ARGS__) \
  static void ncr_body_##room##_##sentence()

#define CR_TEST(room, sentence) CR_TEST_WITH(room, sentence, )

#define NCR_TEST_IN(suite, room, sentence, ...)                                \
  TEST(suite, sentence) {                                                      \
    ::ncr::test::Options options_;                                             \
    options_ = {__VA_ARGS__};                                                  \
    ::ncr::test::run_checkpoint_test(&ncr_body_##room##_##sentence, options_); \
  }

#define FAULT_TEST(suite, sentence) TEST(fault_##suite, sentence)
