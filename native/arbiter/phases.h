// SPDX-License-Identifier: Apache-2.0
//
// How a device that holds prefill and decode divides its time between the two: decode goes first, up to a share that
// this function moves by what each phase waited for, how long its steps took, and how much they are slowed down.
// Pure: no clock, environment, log, lock or randomness; the same windows give the same shares.
#pragma once

#include <cstdint>

namespace flexnpu {

// One phase's vNPUs together, over one window.
struct PhaseUse {
    int64_t waited_ns = 0;  // that their threads spent at the gate
    int64_t used_ns = 0;    // device time that was charged
    uint64_t steps = 0;     // engine steps that ended
};

struct PhaseWindow {
    PhaseUse prefill, decode;
};

// Carried from window to window. Shares in 1/10,000 of the device's time.
struct PhaseShares {
    uint32_t decode = 5000;
    int64_t best_step_ns = 0;  // decode's shortest step of late; 0: none seen yet
    uint32_t prefill() const { return 10'000 - decode; }
    bool operator==(const PhaseShares&) const = default;
};

constexpr uint32_t kLeastPhaseShare = 1000;

// The shares for the next window.
// - The phase that waits for a larger part of its time gets more, a twentieth of the device at a time.
// - Decode steps that take longer than their best say that bandwidth is short, not turns: decode gets no more then,
//   since turns that wait for memory gain nothing.
// - Where one phase neither waited nor ran, the shares stay: what the other waited for was not this one.
PhaseShares divide(const PhaseShares& before, const PhaseWindow& window);

// How much longer than its best a decode step took, 0 for not at all. What other work does to the memory's bandwidth
// shows here.
double bandwidth_pressure(const PhaseShares& before, const PhaseUse& decode);

}  // namespace flexnpu
