// What the stories ask of aio_ring beyond a room's hooks.
#pragma once

#include <string_view>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "engine/tree/frozen_tree.h"

namespace ncr::aio_ring {

// Dump, before any memory is read: waits until no request of the tree has been completed for a
// while, and notes what is in the rings.
Result<> settle(const std::vector<Task>& tasks, std::vector<schema::Task>* records,
                const DumpRequest& request);

// Restore, before the first fork: that the rings are not too small for this machine.
Result<> check_machine(const Image& image);

// In pages, where /sys/devices/system/cpu/possible reads so. Pure.
uint32_t smallest_ring(std::string_view possible_cpus);

}  // namespace ncr::aio_ring
