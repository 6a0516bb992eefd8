// SPDX-License-Identifier: Apache-2.0
// The way to the real functions, and what a program that looks one up by name is given.
#pragma once

#include "table.h"

namespace flexnpu {

// The real function of a slot, found once; null when no real library has it. May load that library.
void* resolve(uint32_t slot);

// A function that is not in the tables, in the libraries where one of them would be; null when none has it.
void* look_up(Library library, const char* name);

extern std::atomic<void*> real_functions[slot_count];

inline void* real_function(uint32_t slot) {
    void* found = real_functions[slot].load(std::memory_order_acquire);
    return __builtin_expect(found != nullptr, true) ? found : resolve(slot);
}

}  // namespace flexnpu
