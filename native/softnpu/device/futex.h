// SPDX-License-Identifier: Apache-2.0
//
// Sleeping on a word that several processes see.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

namespace softnpu {

// Until the word is no longer `seen`, or for 100 ms: whoever sleeps looks in between whether the others still live.
inline void futex_nap(std::atomic<uint32_t>& word, uint32_t seen) {
    const timespec nap{0, 100'000'000};
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &nap, nullptr, 0);
}

inline void futex_wake(std::atomic<uint32_t>& word) {
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace softnpu
