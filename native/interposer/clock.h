// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>

namespace flexnpu {

inline uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

inline timespec as_timespec(uint64_t ns) {
    return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

inline void nap(uint64_t ns) {
    const timespec pause = as_timespec(ns);
    nanosleep(&pause, nullptr);
}

// To the microsecond: a thread usually sleeps up to 50 us longer than it asks for, in which the device may stand
// still. The thread is the program's, so what it had is put back.
inline void nap_exactly(uint64_t ns) {
    const int slack = prctl(PR_GET_TIMERSLACK);
    if (slack > 1) prctl(PR_SET_TIMERSLACK, 1);
    nap(ns);
    if (slack > 1) prctl(PR_SET_TIMERSLACK, slack);
}

}  // namespace flexnpu
