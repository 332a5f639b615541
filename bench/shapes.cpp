#include "bench/shapes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace bench {

Target::Target(const std::string& shape, long size) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  char name[] = "/dev/shm/nativecr-bench-XXXXXX";
  if (mkdtemp(name) == nullptr) return;
  dir_ = name;
  std::string stall = dir_ + "/stall";
  int file = open(stall.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, 4096) != 0) return;
  longest_ =
      static_cast<unsigned long*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  close(file);

  start(shape, std::to_string(size), stall);
  if (pid_ < 0) return;
  for (auto* ready = static_cast<volatile unsigned long*>(longest_) + 1; *ready == 0;) {
    if (waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;
      return;
    }
    usleep(1000);
  }
  usleep(100'000);  // the last of its children are on their way to sleep
}

void Target::start(const std::string& shape, const std::string& size, const std::string& stall) {
  if (shape == "runc_container") {
    container_ = std::make_unique<RuncContainer>(dir_);
    pid_ = container_->start();
    return;
  }
  pid_ = fork();
  if (pid_ != 0) return;
  setsid();
  int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(null, STDERR_FILENO);
  dup2(null, STDOUT_FILENO);
  closefrom(3);
  execl(NCR_BENCH_TARGET, NCR_BENCH_TARGET, shape.c_str(), size.c_str(), stall.c_str(), nullptr);
  _exit(127);
}

Target::~Target() {
  if (pid_ > 0) kill(container_ ? pid_ : -pid_, SIGKILL);
  reap();
  container_.reset();
  if (longest_ != nullptr) munmap(longest_, 4096);
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string Target::fresh_images_dir() {
  std::string images = dir_ + "/images";
  std::error_code ignored;
  std::filesystem::remove_all(images, ignored);
  return images;
}

double Target::take_longest_stall() {
  double seconds = static_cast<double>(*longest_) / 1e9;
  *longest_ = 0;
  return seconds;
}

void Target::reap() {
  int status;
  for (int i = 0; i < 10'000; i++) {
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0) return;
    if (pid == 0) usleep(200);
  }
}

}  // namespace bench
