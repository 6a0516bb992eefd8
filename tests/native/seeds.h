/* SPDX-License-Identifier: Apache-2.0 */
// Random cases, the same on every machine; what fails names the seed.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>

namespace flexnpu {

class Draw {
  public:
    explicit Draw(uint32_t seed) : engine_(seed) {}

    // Ends included. Not by the library's distributions, which differ from one to the next.
    int64_t whole(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
    }
    double real(double low, double high) {
        return low + (high - low) * (static_cast<double>(engine_() >> 11) * 0x1p-53);
    }
    bool once_in(int64_t times) { return whole(1, times) == 1; }

  private:
    std::mt19937_64 engine_;
};

// take(draw), until one fails.
template <class Take>
void for_seeds(uint32_t count, Take take) {
    for (uint32_t seed = 1; seed <= count && !testing::Test::HasFailure(); ++seed) {
        const testing::ScopedTrace trace(__FILE__, __LINE__, "seed " + std::to_string(seed));
        Draw draw(seed);
        take(draw);
    }
}

}  // namespace flexnpu
