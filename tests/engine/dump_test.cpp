// What a dump leaves in the image beside what the rooms test of themselves.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

// A root and its child, which hold nothing but the standard descriptors.
class Dump : public testing::Test {
 protected:
  Dump() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    root_ = ::fork();
    if (root_ == 0) {
      ::setsid();
      if (::fork() == 0) (void)!::write(ready[1], "x", 1);
      ::close_range(3, ~0u, 0);
      for (;;) ::pause();
    }
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    request_.pid = root_;
    request_.images_dir = scratch_.file("image");
    request_.final_state = FinalState::kRun;
  }
  ~Dump() override {
    ::kill(-root_, SIGKILL);
    ::waitpid(root_, nullptr, 0);
  }

  test::Scratch scratch_;
  pid_t root_ = 0;
  DumpRequest request_;
};

// Without it no other kernel could give the tree the functions that it calls.
TEST_F(Dump, the_code_of_the_vdso_is_stored_once_with_the_root) {
  Result<DumpReport> report = dump(request_);
  ASSERT_TRUE(report.ok()) << report.error().text();
  Result<Image> image = Image::open(request_.images_dir, PageCheck::kVerify);
  ASSERT_TRUE(image.ok()) << image.error().text();
  ASSERT_EQ(image.value().tasks.size(), 2u);
  const schema::Vdso& of_root = image.value().tasks[0].vdso();
  const schema::Vdso& of_child = image.value().tasks[1].vdso();
  EXPECT_EQ(of_root.image().size(), of_root.size());
  EXPECT_EQ(of_root.image().substr(0, 4), "\177ELF");
  EXPECT_TRUE(of_child.image().empty());
  EXPECT_EQ(of_child.build_id(), of_root.build_id());
}

}  // namespace
}  // namespace ncr
