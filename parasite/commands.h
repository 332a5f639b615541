// The headers that declare the commands listed in pie/commands.inc.
#pragma once
#include "engine/resources/aio_ring/aio_ring.h"
#include "engine/resources/credentials/credentials.h"
#include "engine/resources/interval_timer/interval_timer.h"
#include "engine/resources/membarrier/membarrier.h"
#include "engine/resources/mm_layout/mm_layout.h"
#include "engine/resources/posix_timer/posix_timer.h"
#include "engine/resources/prctl_flags/prctl_flags.h"
#include "engine/resources/process_flags/process_flags.h"
#include "engine/resources/rlimit/rlimit.h"
#include "engine/resources/robust_list/robust_list.h"
#include "engine/resources/signal_action/signal_action.h"
#include "engine/resources/signal_stack/signal_stack.h"
