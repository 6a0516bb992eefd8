// SPDX-License-Identifier: Apache-2.0
#include "arbiter/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <ctime>

namespace flexnpu {
namespace {

constexpr long kFutexWaitvCall = 449;  // the same number on every architecture

// As linux/futex.h has it since 5.16; older system headers lack it.
struct Waiter {
    uint64_t expected;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
constexpr uint32_t kFutex32 = 2;
constexpr int64_t kPollNs = 10'000'000;

timespec spec(int64_t ns) { return {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000}; }

timespec deadline(int64_t timeout_ns) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return spec(now.tv_sec * 1'000'000'000 + now.tv_nsec + timeout_ns);
}

void wait_one(const FutexWord& word, int64_t timeout_ns) {
    const timespec relative = spec(timeout_ns);
    syscall(SYS_futex, word.word, FUTEX_WAIT, word.expected, timeout_ns > 0 ? &relative : nullptr, nullptr, 0);
}

}  // namespace

void futex_wake_shared(const uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

int futex_wait_any(std::span<const FutexWord> words, int64_t timeout_ns) {
    if (words.size() <= 1) {
        if (!words.empty()) wait_one(words.front(), timeout_ns);
        return -1;
    }
    std::array<Waiter, kMostFutexWords> waiters{};
    const size_t count = std::min(words.size(), kMostFutexWords);
    for (size_t i = 0; i < count; ++i) {
        waiters[i] = {words[i].expected, reinterpret_cast<uintptr_t>(words[i].word), kFutex32, 0};
    }
    const timespec until = deadline(timeout_ns);
    const timespec* limit = timeout_ns > 0 ? &until : nullptr;
    const long rc = syscall(kFutexWaitvCall, waiters.data(), count, 0, limit, CLOCK_MONOTONIC);
    // Unknown to the kernel, or to what filters a container's calls: the other words are looked at now and then.
    const bool missing = rc < 0 && (errno == ENOSYS || errno == EPERM);
    if (missing) wait_one(words.front(), timeout_ns > 0 ? std::min(timeout_ns, kPollNs) : kPollNs);
    return static_cast<int>(rc);
}

}  // namespace flexnpu
