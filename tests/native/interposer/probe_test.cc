// SPDX-License-Identifier: Apache-2.0
// The promise of `applied` where it is made: without a device, at the speed of the processor.
#include "probe.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace flexnpu {
namespace {

constinit Probe probe;

TEST(Probe, a_turn_waits_for_whoever_entered_while_the_one_before_was_over) {
    constexpr uint64_t kExecutor = 0x1000;
    constexpr int kTurns = 300'000;
    std::atomic<bool> stop = false;
    std::atomic<uint64_t> granted = 1, applied = 1;
    std::atomic<int> too_early = 0;
    std::thread program([&] {
        while (!stop) {
            const uint32_t generation = probe.enter();
            const uint64_t under = granted;
            probe.tiled(kExecutor, generation);
            probe.leave(generation);
            for (int i = 0; i < 50; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
            if (applied > under) ++too_early;
            const uint32_t launching = probe.launching(kExecutor);
            if (launching != 0) probe.launched(launching);
        }
    });
    for (int i = 0; i < kTurns; ++i) {
        const uint64_t grant = ++granted;
        probe.turn();
        applied = grant;
    }
    stop = true;
    program.join();
    EXPECT_EQ(too_early, 0) << "applied, and an operator tiled under an older grant was still to be launched";
}

}  // namespace
}  // namespace flexnpu
