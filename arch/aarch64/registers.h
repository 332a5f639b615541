// Registers of a stopped thread as the kernel's regset has them, and what is pure about them.
#pragma once
