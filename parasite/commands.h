// The headers that declare the commands listed in pie/commands.inc.
#pragma once
