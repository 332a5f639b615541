// Vectors that not every CPU of this architecture has.
#pragma once

namespace ncr::arch {

// All have what XXH3 uses (NEON).
inline bool has_wide_vectors() { return false; }

}  // namespace ncr::arch
