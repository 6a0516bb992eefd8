/* SPDX-License-Identifier: Apache-2.0 */
// What tests with threads wait for, and what waiting costs.
#pragma once

#include <chrono>
#include <ctime>
#include <thread>

namespace flexnpu {

// Within some seconds.
template <class Condition>
bool comes_true(Condition condition) {
    for (int i = 0; i < 10'000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    return false;
}

// Processor time of the whole process while this thread sleeps.
inline int64_t process_time_ns(std::chrono::milliseconds asleep) {
    timespec before{}, after{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    std::this_thread::sleep_for(asleep);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    return (after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec;
}

}  // namespace flexnpu
