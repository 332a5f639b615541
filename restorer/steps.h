// The headers that declare the steps listed in pie/steps.inc.
#pragma once
#include "engine/resources/memory_flags/memory_flags.h"
