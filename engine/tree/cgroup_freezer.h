// A cgroup whose tasks are kept from running while we seize them.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"
#include "engine/base/sys.h"

namespace ncr {

// The destructor leaves the cgroup as it was found.
class [[nodiscard]] CgroupFreezer {
 public:
  // `path`: absolute, a directory of cgroup v2 or of the v1 freezer. kUsage if it is neither, or if
  // this process is inside.
  static Result<CgroupFreezer> open(const std::string& path);
  CgroupFreezer(CgroupFreezer&&) noexcept = default;
  CgroupFreezer& operator=(CgroupFreezer&&) = delete;
  ~CgroupFreezer();

  bool was_frozen() const { return was_frozen_; }
  Result<> freeze(uint64_t deadline_ns);  // CLOCK_MONOTONIC; returns once every task stands still
  Result<> thaw();
  Result<> put_back();  // frozen again if it was frozen when found; does not wait for it

 private:
  enum class Version { kV1, kV2 };
  CgroupFreezer(std::string path, Fd directory, Version version)
      : path_(std::move(path)), directory_(std::move(directory)), version_(version) {}
  Result<> write_state(bool frozen);
  Result<bool> reached() const;
  Result<bool> frozen_from_above() const;

  std::string path_;
  Fd directory_;
  Version version_;
  bool was_frozen_ = false;
  bool frozen_ = false;
};

}  // namespace ncr
