// SPDX-License-Identifier: Apache-2.0
// How long a program that has nothing on the device is given to launch more before its turn goes to others. Who is
// always away for long after its last launch is not waited for; who once came back soon is, and it takes more to be
// sure of it again.
#pragma once

#include <stdint.h>

#include <algorithm>

namespace flexnpu {

class Patience {
  public:
    static constexpr uint64_t kMostNs = 200'000;

    uint64_t ns() const { return kMostNs >> level_; }

    // It launched again so long after its turn was given up.
    void came_back(uint64_t after_ns) {
        if (after_ns < kMostNs) {
            level_ = right_ = 0;
            needed_ = std::min(2 * needed_, kMostNeeded);
        } else if (++right_ >= needed_) {
            right_ = 0;
            if (level_ == kLevels) needed_ = std::max(needed_ / 2, kLeastNeeded);
            level_ = std::min(level_ + 1, kLevels);
        }
    }

  private:
    static constexpr uint32_t kLevels = 3, kLeastNeeded = 4, kMostNeeded = 4096;
    uint32_t level_ = 0, right_ = 0, needed_ = kLeastNeeded;
};

}  // namespace flexnpu
