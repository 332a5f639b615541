// Whether this machine can run what the image was made on.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "inventory.pb.h"

namespace ncr {

Result<schema::Cpu> describe_this_cpu();

// Malformed ("foreign image"): another architecture, another page size, or something this CPU
// lacks, named: register state in use, or a feature that programs may have found at their start and
// go on using.
Result<> check_cpu(const schema::Inventory& image, const schema::Cpu& here);

// The features of /proc/cpuinfo (its first CPU) into cpu->features, and the model's name. Pure.
void parse_cpuinfo(const std::string& cpuinfo, schema::Cpu* cpu);

}  // namespace ncr
