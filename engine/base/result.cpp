#include "engine/base/result.h"

#include <cstring>

namespace ncr {

Error Error::system(int os_error, std::string what) {
  char buffer[128];
  Error error(ErrorCode::kSystem,
              std::move(what) + ": " + strerror_r(os_error, buffer, sizeof buffer));
  error.os_error_ = os_error;
  return error;
}

Error Error::while_doing(const std::string& frame) && {
  text_ = frame + ": " + text_;
  return std::move(*this);
}

}  // namespace ncr
