// SPDX-License-Identifier: Apache-2.0
// A lock of one word for sections of a few instructions. No pthread object, so that a fork's child can simply clear it.
#pragma once

#include <sched.h>

#include <atomic>

namespace flexnpu {

class Lock {
  public:
    void acquire() {
        for (int spins = 0; held_.exchange(true, std::memory_order_acquire); ++spins) {
            if (spins > 64) sched_yield();
        }
    }
    bool is_held() const { return held_.load(std::memory_order_relaxed); }
    void release() { held_.store(false, std::memory_order_release); }

  private:
    std::atomic<bool> held_{false};
};

class Held {
  public:
    explicit Held(Lock& lock) : lock_(lock) { lock_.acquire(); }
    ~Held() { lock_.release(); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

  private:
    Lock& lock_;
};

}  // namespace flexnpu
