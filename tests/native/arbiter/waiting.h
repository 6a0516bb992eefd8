/* SPDX-License-Identifier: Apache-2.0 */
// What tests with threads wait for, and what waiting costs.
#pragma once

#include <sys/resource.h>

#include <chrono>
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

// How often a thread of this process, other than this one, went to sleep meanwhile: what polls does so again and again.
inline long naps(std::chrono::milliseconds asleep) {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    std::this_thread::sleep_for(asleep);
    getrusage(RUSAGE_SELF, &after);
    return after.ru_nvcsw - before.ru_nvcsw - 1;
}

}  // namespace flexnpu
