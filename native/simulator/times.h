// SPDX-License-Identifier: Apache-2.0
//
// What the engine asks of a forecast. Seconds.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "forecast/load.h"

namespace flexnpu::simulator {

class Times {
  public:
    virtual ~Times() = default;
    // One iteration alone on so many cores.
    virtual double seconds(uint32_t cores, const Load& load) = 0;
    // One prefill and one decode iteration, each for as long as it runs beside the other.
    virtual std::pair<double, double> beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                             const Load& decode) = 0;
    // Each of the next decode iterations, as many as `seconds` holds, every context one token longer per step.
    virtual void steps(uint32_t cores, const Load& load, std::span<double> seconds) = 0;
};

}  // namespace flexnpu::simulator
