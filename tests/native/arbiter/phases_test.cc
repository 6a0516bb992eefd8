// SPDX-License-Identifier: Apache-2.0
#include "arbiter/phases.h"

#include <gtest/gtest.h>

namespace flexnpu {
namespace {

constexpr int64_t kMs = 1'000'000;

PhaseWindow window(PhaseUse prefill, PhaseUse decode) { return {prefill, decode}; }

PhaseShares after(PhaseShares shares, const PhaseWindow& each, int windows) {
    for (int i = 0; i < windows; ++i) shares = divide(shares, each);
    return shares;
}

TEST(Phases, the_one_that_waits_longer_gets_more) {
    const auto decode_waits = window({5 * kMs, 50 * kMs, 1}, {50 * kMs, 50 * kMs, 10});
    EXPECT_EQ(divide({}, decode_waits).decode, 5500u);
    const auto prefill_waits = window({50 * kMs, 50 * kMs, 1}, {5 * kMs, 50 * kMs, 10});
    EXPECT_EQ(divide({}, prefill_waits).decode, 4500u);
    EXPECT_EQ(divide({}, prefill_waits).prefill(), 5500u);
}

TEST(Phases, what_waits_alike_or_not_at_all_stays) {
    EXPECT_EQ(divide({}, window({20 * kMs, 50 * kMs, 1}, {21 * kMs, 50 * kMs, 10})).decode, 5000u);
    EXPECT_EQ(divide({}, window({0, 50 * kMs, 1}, {0, 50 * kMs, 10})).decode, 5000u);
    EXPECT_EQ(divide({}, {}), PhaseShares{});
}

TEST(Phases, what_is_waited_for_beside_an_idle_phase_moves_nothing) {
    EXPECT_EQ(divide({}, window({}, {90 * kMs, 10 * kMs, 10})).decode, 5000u);
    EXPECT_EQ(divide({}, window({90 * kMs, 10 * kMs, 1}, {})).decode, 5000u);
}

TEST(Phases, neither_is_starved) {
    EXPECT_EQ(after({}, window({0, 50 * kMs, 1}, {90 * kMs, 10 * kMs, 10}), 100).decode, 9000u);
    EXPECT_EQ(after({}, window({90 * kMs, 10 * kMs, 1}, {0, 50 * kMs, 10}), 100).decode, 1000u);
}

TEST(Phases, decode_that_is_short_of_bandwidth_gets_no_more_turns) {
    const PhaseShares settled = after({}, window({0, 50 * kMs, 1}, {0, 50 * kMs, 10}), 3);
    EXPECT_NEAR(static_cast<double>(settled.best_step_ns), 5.0 * kMs, 0.1 * kMs);
    const auto slowed = window({5 * kMs, 50 * kMs, 1}, {50 * kMs, 50 * kMs, 7});
    EXPECT_GT(bandwidth_pressure(settled, slowed.decode), 0.4);
    EXPECT_EQ(divide(settled, slowed).decode, settled.decode);
    const auto only_waiting = window({5 * kMs, 50 * kMs, 1}, {50 * kMs, 50 * kMs, 10});
    EXPECT_GT(divide(settled, only_waiting).decode, settled.decode);
}

TEST(Phases, longer_contexts_are_in_time_no_pressure) {
    PhaseShares shares = after({}, window({0, 50 * kMs, 1}, {0, 50 * kMs, 10}), 3);
    const auto longer = window({0, 50 * kMs, 1}, {0, 50 * kMs, 5});
    EXPECT_GT(bandwidth_pressure(shares, longer.decode), 0.9);
    shares = after(shares, longer, 60);
    EXPECT_LT(bandwidth_pressure(shares, longer.decode), 0.05);
}

}  // namespace
}  // namespace flexnpu
