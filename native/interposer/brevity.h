// SPDX-License-Identifier: Apache-2.0
// Whether the next wait for a turn is worth spinning through. To be woken takes tens of microseconds; where waits have
// lately been as short, a thread that spins launches that much sooner. Where they are longer, it sleeps at once.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <atomic>

namespace flexnpu {

class Brevity {
  public:
    static constexpr uint64_t kMostNs = 100'000;

    // How long to spin before sleeping; 0: not at all.
    uint64_t ns() const {
        const uint64_t usual = usual_ns_.load(std::memory_order_relaxed);
        return usual <= kMostNs ? std::min(2 * usual, kMostNs) : 0;
    }

    // Threads that write at once lose one of their waits, no more.
    void waited(uint64_t ns) {
        const uint64_t usual = usual_ns_.load(std::memory_order_relaxed);
        usual_ns_.store((3 * usual + std::min(ns, kLongNs)) / 4, std::memory_order_relaxed);
    }

  private:
    static constexpr uint64_t kLongNs = 4 * kMostNs;
    std::atomic<uint64_t> usual_ns_{kLongNs};
};

}  // namespace flexnpu
