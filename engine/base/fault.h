// Fault points: in test builds (NCR_FAULT_HOOKS) every TRY can be told to fail, and the engine can
// be told to stop dead at its N-th step. In other builds NCR_FAULT_POINT() is nothing.
#pragma once

#if defined(NCR_FAULT_HOOKS)

namespace ncr::fault {

// True when the point at file:line is the one chosen by NATIVECR_FAULT_FAIL_AT=FILE:LINE, and is
// passed for the first time (a place and not a number: how many points a dump passes depends on who
// is scheduled when). NATIVECR_FAULT_KILL_AT=N raises SIGKILL on ourselves at the N-th point passed
// instead. NATIVECR_FAULT_COUNT=FILE appends to FILE a line "N FILE:LINE" when a process passes a
// place for the first time, and at an orderly exit a line with the number of points passed.
bool fires(const char* file, int line);

}  // namespace ncr::fault

#define NCR_FAULT_POINT()                                                              \
  do {                                                                                 \
    if (::ncr::fault::fires(__FILE__, __LINE__))                                       \
      return ::ncr::Error(::ncr::ErrorCode::kSystem,                                   \
                          ::ncr::strf("injected fault at %s:%d", __FILE__, __LINE__)); \
  } while (false)

#else
#define NCR_FAULT_POINT() \
  do {                    \
  } while (false)
#endif
