// The headers that declare the steps listed in pie/steps.inc.
#pragma once
