// libFuzzer's door to every parser that reads what an enemy may have written (./dev fuzz). The
// first byte picks it.
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "engine/image/cpu.h"
#include "engine/image/record_file.h"
#include "engine/memory/vma_table.h"
#include "tests/fuzz/damaged_image.h"

namespace {

// One directory for the run, in memory.
class Scratch {
 public:
  Scratch() : made_(::mkdtemp(path_)) {}
  ~Scratch() {
    if (made_ != nullptr) (void)::rmdir(made_);
  }
  const char* path() const { return made_; }

 private:
  char path_[32] = "/dev/shm/nativecr-fuzz-XXXXXX";
  const char* made_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      (void)ncr::split_record_file("tasks.img", text).ok();
      (void)ncr::unseal("inventory.img", text).ok();
      return 0;
    case 1:
      (void)ncr::parse_smaps(text).ok();
      return 0;
    case 2: {
      ncr::schema::Cpu cpu;
      ncr::parse_cpuinfo(text, &cpu);
      return 0;
    }
    default: {
      static Scratch scratch;
      if (scratch.path() != nullptr) {
        (void)ncr::open_damaged(scratch.path(), data + 1, size - 1).ok();
      }
      return 0;
    }
  }
}
