// SPDX-License-Identifier: Apache-2.0
// The way to the real functions, and what a program that looks one up by name is given.
#pragma once

#include "table.h"

struct flexnpu_answer;

namespace flexnpu {

// The C library's own, past the ones that libflexnpu.so defines.
struct DlFunctions {
    void* (*dlsym)(void*, const char*);
    void* (*dlvsym)(void*, const char*, const char*);
    void* (*dlopen)(const char*, int);
    void* (*dlmopen)(long, const char*, int);
    int (*dlclose)(void*);
    int (*dlinfo)(void*, int, void*);
};
const DlFunctions& libc();

// The real function of a slot, found once; null when no real library has it. May load that library.
void* resolve(uint32_t slot);

// The real function of a name that need not be in the tables; null when its libraries lack it.
void* find_real(Library library, const char* name);

extern std::atomic<void*> real_functions[slot_count];

inline void* real_function(uint32_t slot) {
    void* found = real_functions[slot].load(std::memory_order_acquire);
    return __builtin_expect(found != nullptr, true) ? found : resolve(slot);
}

}  // namespace flexnpu
