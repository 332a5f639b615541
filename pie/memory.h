// The three functions that a freestanding compiler may call on its own. Defined once per blob in
// pie/memory.cpp.
#pragma once

#include <stddef.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t size);
void* memset(void* to, int byte, size_t size);
int memcmp(const void* a, const void* b, size_t size);
}
