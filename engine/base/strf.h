// printf into a std::string.
#pragma once

#include <string>

namespace ncr {

[[gnu::format(printf, 1, 2)]] std::string strf(const char* format, ...);

}  // namespace ncr
