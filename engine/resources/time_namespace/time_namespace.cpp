// Time namespace (struct time_namespace): what is added to CLOCK_MONOTONIC and CLOCK_BOOTTIME.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::time_namespace {

extern const NamespaceRoom kRoom = {
    .name = "time", .kind = schema::Namespace::kTime, .clone_flag = CLONE_NEWTIME};

}  // namespace ncr::time_namespace
