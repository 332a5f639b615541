// What of a BPF map is looked at to tell whether it can be read. Pure.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>

#include "engine/base/result.h"

namespace ncr::bpf_map {

bool is_array(uint32_t type);
bool has_a_value_per_cpu(uint32_t type);
// Of one value, as bpf(2) reads and writes it.
uint64_t value_bytes(uint32_t type, uint32_t value_size, uint32_t cpus);
// Empty, or why a map of this kind cannot be made again.
std::string obstacle(const bpf_map_info& info);
// Text of /proc/PID/fdinfo/N.
Result<bool> parse_frozen(const std::string& fdinfo);
// Of /sys/devices/system/cpu/possible ("0-3,8"): as many parts has a value of a map that has one
// for each CPU.
Result<uint32_t> parse_possible_cpus(const std::string& text);

}  // namespace ncr::bpf_map
