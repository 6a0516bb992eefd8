// SPDX-License-Identifier: Apache-2.0
// Waiting awake, for what comes sooner than a sleeping thread would be woken.
#pragma once

#include <sched.h>

#include "clock.h"

namespace flexnpu {

// Tells the processor that the thread spins.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// For as long as `goes_on`, until that time (CLOCK_MONOTONIC, ns), and while no other thread wants the processor.
template <class GoesOn>
void spin_until(uint64_t end_ns, GoesOn goes_on) {
    constexpr uint64_t kOthersNs = 5'000;  // who yields for longer has let another thread run
    for (uint64_t before = now_ns(); before < end_ns && goes_on();) {
        relax();
        sched_yield();
        const uint64_t now = now_ns();
        if (now - before > kOthersNs) return;
        before = now;
    }
}

}  // namespace flexnpu
