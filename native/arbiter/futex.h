// SPDX-License-Identifier: Apache-2.0
//
// The few futex calls the arbiter needs, across processes. Values may change at any time; a wait that returns says
// nothing, the caller looks again.
#pragma once

#include <cstdint>
#include <span>

namespace flexnpu {

struct FutexWord {
    const uint32_t* word;
    uint32_t expected;
};

void futex_wake_shared(const uint32_t* word);

// More words than the kernel waits for at once: the rest is only looked at, so the timeout must be a poll.
constexpr size_t kMostFutexWords = 128;

// Returns when a word does not hold (any more) what is expected, is woken, or after `timeout_ns` (0: no timeout). The
// index of the word that was woken, where the kernel tells it; else -1.
// Linux before 5.16 cannot wait for several words: there, only the first is waited for, and the timeout is the poll.
int futex_wait_any(std::span<const FutexWord> words, int64_t timeout_ns);

}  // namespace flexnpu
