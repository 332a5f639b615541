// libFuzzer's door to every parser that reads what an enemy may have written (./dev fuzz). The
// first byte picks it.
#include <stdlib.h>

#include <string>

#include "engine/image/cpu.h"
#include "engine/image/record_file.h"
#include "engine/memory/vma_table.h"
#include "tests/fuzz/damaged_image.h"

namespace {

// One directory for the run, in memory if the machine has such a place.
const char* scratch() {
  static char path[] = "/dev/shm/nativecr-fuzz-XXXXXX";
  static const char* made = ::mkdtemp(path);
  return made;
}

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
    default:
      if (scratch() != nullptr) (void)ncr::open_damaged(scratch(), data + 1, size - 1).ok();
      return 0;
  }
}
