// SPDX-License-Identifier: Apache-2.0
// A neighbour's part of the bandwidth against a clock that goes in small steps.
#include "forecast/contention.h"

#include <gtest/gtest.h>

#include "seeds.h"

namespace flexnpu {
namespace {

TEST(Contention, is_work_done_at_two_rates_in_turns) {
    for_seeds(20, [](Draw& draw) {
        const double alone = draw.real(1e-3, 1.0), held = alone * draw.real(1.0, 2.0), met = draw.real(0.0, 1.0);
        const double step = alone / 100'000;
        double done = 0, clock = 0;
        for (; done < 1.0; clock += step) done += met * step / held + (1.0 - met) * step / alone;
        EXPECT_NEAR(busy(alone, held, met), clock, 2 * step);
    });
}

TEST(Contention, lies_between_no_neighbour_and_one_that_never_pauses) {
    for_seeds(500, [](Draw& draw) {
        const double alone = draw.real(1e-6, 10.0), held = alone * draw.real(1.0, 2.0);
        EXPECT_EQ(busy(alone, held, 0.0), alone);
        EXPECT_EQ(busy(alone, alone, draw.real(0.0, 1.0)), alone) << "what needs no bandwidth";
        const double some = draw.real(0.0, 1.0), more = draw.real(some, 1.0);
        EXPECT_LE(alone, busy(alone, held, some));
        EXPECT_LE(busy(alone, held, some), busy(alone, held, more) * (1 + 1e-12));
        EXPECT_NEAR(busy(alone, held, 1.0), held, held * 1e-12);
    });
}

TEST(Contention, a_neighbour_that_draws_half_or_more_is_always_met) {
    EXPECT_EQ(part_met(0.0), 0.0);
    EXPECT_EQ(part_met(0.125), 0.25);
    EXPECT_EQ(part_met(0.5), 1.0);
    EXPECT_EQ(part_met(0.9), 1.0);
}

}  // namespace
}  // namespace flexnpu
