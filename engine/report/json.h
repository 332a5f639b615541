// Reports as JSON, for machines and for the command line.
#pragma once

#include <string>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/memory/pager.h"
#include "engine/report/kernel_features.h"
#include "engine/request.h"

namespace ncr {

std::string to_json(const DumpReport& report);
std::string to_json(const RestoreReport& report);
std::string to_json(const PagerReport& report);
std::string describe_image_json(const Image& image);
std::string verify_json(const Image& image);
std::string pages_json(uint64_t pages);  // of a page server, of dedup
std::string check_json(const std::vector<KernelFeature>& features,
                       const std::vector<Blocker>& blockers);

}  // namespace ncr
