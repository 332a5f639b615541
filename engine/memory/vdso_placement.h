// Where the running vDSO goes in a restored task.
#pragma once

#include <vector>

#include "engine/image/image_reader.h"
#include "engine/resources/vdso/vdso.h"
#include "restorer/args.h"

namespace ncr {

struct VdsoPlacement {
  std::vector<wire::Move> park;   // from where the kernel put it ...
  std::vector<wire::Move> place;  // ... to where the image has it; empty: it stays parked for ever
  uint64_t syscall_address = 0;   // of an instruction, when all is done
  AddressRange unwanted{};        // where a task that had no vDSO has one by then; empty: nowhere
  // On another kernel: what stands in for the recorded special mappings, as ordinary memory.
  struct StandIn {
    AddressRange range;
    std::string code;  // empty: zero pages, which make old code fall back to system calls
  };
  std::vector<StandIn> stand_ins;
};

// `parking`: a free address range as large as all running special mappings together. Pure.
Result<VdsoPlacement> place_vdso(const Image& image, const schema::Task& task,
                                 const vdso::Running& running, uint64_t parking);

}  // namespace ncr
