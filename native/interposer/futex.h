// SPDX-License-Identifier: Apache-2.0
// Sleeping on a word of a page that another process shares.
#pragma once

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace flexnpu {

// False when the word cannot be slept on at all; a wake, a changed word, a signal and a timeout are all true.
inline bool futex_wait(const uint32_t* word, uint32_t expected, const timespec* timeout) {
    const long rc = syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, nullptr, 0);
    return rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT;
}

inline void futex_wake(uint32_t* word, int how_many) {
    syscall(SYS_futex, word, FUTEX_WAKE, how_many, nullptr, nullptr, 0);
}

// The half of a turn's word that its waiters sleep on.
inline const uint32_t* low_word(const uint64_t& word) { return reinterpret_cast<const uint32_t*>(&word); }

}  // namespace flexnpu
