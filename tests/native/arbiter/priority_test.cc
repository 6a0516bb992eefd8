// SPDX-License-Identifier: Apache-2.0
// A priority counts within the share: cases to follow by hand, and the modelled device.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "arbiter/schedule.h"
#include "serial_device.h"

namespace flexnpu {
namespace {

// Both wait; the second has priority, and has used all that it had earned.
std::vector<TurnView> spent() {
    std::vector<TurnView> views{sharing(5000), sharing(2000, 1)};
    views[1].ahead_ns = 0;
    for (size_t i = 0; i < views.size(); ++i) set_waiting(views, i, true, 0);
    return views;
}

TEST(PriorityWithinShare, who_has_used_its_share_takes_its_turn_like_the_others) {
    auto views = spent();
    views[1].virtual_ns = 1e6;
    EXPECT_EQ(schedule(views, 0).open, 0u);
    views[1].virtual_ns = -1e6;
    EXPECT_EQ(schedule(views, 0).open, 1u);
}

TEST(PriorityWithinShare, it_goes_first_again_when_it_has_earned_a_slice) {
    auto views = spent();
    views[1].virtual_ns = 1e9;
    open_turn(views, 0, 0);
    extend_turn(views, 0, 4 * kMs);  // so that the slice of the other lasts
    const TurnPlan early = schedule(views, 4 * kMs);
    EXPECT_TRUE(early.empty());
    EXPECT_NEAR(static_cast<double>(early.look_again_ns), 1e6 / 0.18 - 4e6, 2);  // a slice of 1 ms, at 0.9 of a fifth
    const TurnPlan plan = schedule(views, 4 * kMs + early.look_again_ns);
    EXPECT_EQ(plan.close, std::vector<size_t>{0});
    EXPECT_EQ(plan.open, 1u);
}

TEST(PriorityWithinShare, it_saves_fifty_milliseconds_of_its_share_and_no_more) {
    auto views = spent();
    open_turn(views, 1, 100 * kSecond);
    set_waiting(views, 1, false, 100 * kSecond);
    set_waiting(views, 0, true, 100 * kSecond);
    // 10 ms were saved, and it earns on while it uses them.
    EXPECT_TRUE(schedule(views, 100 * kSecond + 12 * kMs).close.empty());
    EXPECT_EQ(schedule(views, 100 * kSecond + 13 * kMs).close, std::vector<size_t>{1});
}

TEST(PriorityWithinShare, idle_time_that_it_took_does_not_cost_its_priority_for_long) {
    auto views = spent();
    set_waiting(views, 0, false, 0);
    open_turn(views, 1, 0);
    close_turn(views, 1, 10 * kSecond);
    end_turn(views, 1, 0, 10 * kSecond);
    set_waiting(views, 0, true, 10 * kSecond);
    open_turn(views, 0, 10 * kSecond);
    set_waiting(views, 1, true, 10 * kSecond + 60 * kMs);
    EXPECT_EQ(schedule(views, 10 * kSecond + 60 * kMs).open, 1u);
}

TEST(PriorityWithinShare, to_stop_others_and_launch_nothing_uses_it_up) {
    auto views = spent();
    views[1].ahead_ns = 1e7;
    set_waiting(views, 1, false, 0);
    int64_t now = 0;
    for (int stops = 0; stops < 1000; ++stops) {
        open_turn(views, 0, now);
        if (!may_come_first(views, 1, now)) return;
        close_turn(views, 0, now);
        open_turn(views, 1, now);
        close_turn(views, 1, now);
        end_turn(views, 1, 0, now);
        end_turn(views, 0, 10'000, now += 10'000);
    }
    FAIL() << "it stopped the other a thousand times for nothing";
}

// --- on the modelled device ---

double percent(const SerialDevice& device, size_t tenant, int64_t from, int64_t until) {
    return 100. * static_cast<double>(device.busy(tenant, from, until)) / static_cast<double>(until - from);
}

class GreedyMix : public testing::TestWithParam<bool> {};

TEST_P(GreedyMix, does_not_take_the_shares_of_others) {
    const std::vector<int64_t> ops{200'000};
    const std::vector<std::vector<Load>> mixes{
        {{sharing(5000, 7), ops}, {sharing(5000), ops}},
        {{sharing(2000, 7), ops}, {sharing(8000), ops}},
        {{sharing(9000, 1), ops}, {sharing(1000), ops}},
        {{sharing(1000, 1), ops}, {sharing(2000, 2), ops}, {sharing(3000, 3), ops}, {sharing(4000), ops}},
        {{sharing(4000, 1), {20 * kMs}}, {sharing(4000), {300'000}}, {sharing(2000), {50'000}}},
        {{sharing(4000, 1), {50'000}}, {sharing(4000), {20 * kMs}}, {sharing(2000), {50'000}}},
        {{sharing(5000, 3, true), ops}, {sharing(5000, 0, true), ops}},
    };
    for (size_t mix = 0; mix < mixes.size(); ++mix) {
        SerialDevice device(mixes[mix], GetParam());
        device.run(10 * kSecond);
        int64_t all = 0;
        for (size_t i = 0; i < mixes[mix].size(); ++i) all += device.busy(i, 0, 10 * kSecond);
        for (size_t i = 0; i < mixes[mix].size(); ++i) {
            const double got = 100. * static_cast<double>(device.busy(i, 0, 10 * kSecond)) / static_cast<double>(all);
            EXPECT_NEAR(got, mixes[mix][i].view.share / 100., 0.3) << "mix " << mix << ", tenant " << i;
        }
        EXPECT_GT(static_cast<double>(all) / 1e8, 75) << "mix " << mix;
    }
}

INSTANTIATE_TEST_SUITE_P(Hailing, GreedyMix, testing::Bool());

class RandomPriorities : public testing::TestWithParam<std::tuple<uint32_t, bool>> {};

TEST_P(RandomPriorities, keep_every_share) {
    const auto [seed, hails] = GetParam();
    std::mt19937 random{seed};
    std::vector<Load> loads;
    const size_t tenants = 2 + seed % 6;
    for (size_t i = 0; i < tenants; ++i) {
        const auto op = static_cast<int64_t>(50'000 << random() % 8);
        loads.push_back({sharing(10'000 / static_cast<uint32_t>(tenants), random() % 4), {op}});
    }
    SerialDevice device(loads, hails);
    device.run(10 * kSecond);
    int64_t all = 0;
    for (size_t i = 0; i < tenants; ++i) all += device.busy(i, 0, 10 * kSecond);
    for (size_t i = 0; i < tenants; ++i) {
        const double got = 100. * static_cast<double>(device.busy(i, 0, 10 * kSecond)) / static_cast<double>(all);
        EXPECT_NEAR(got, 100. / static_cast<double>(tenants), 0.3) << "tenant " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPriorities, testing::Combine(testing::Range(0u, 20u), testing::Bool()));

// It comes now and then, and wants less than its share.
TEST(PriorityWithinShare, who_hails_waits_for_what_is_in_flight_and_no_share_is_lost) {
    for (const int64_t op : {50'000, 200'000, 1'000'000}) {
        const Load often{sharing(5000, 1), {100'000}, 200'000, 5'100'000, 123'456};
        SerialDevice device({often, {sharing(2500), {op}}, {sharing(2500), {op}}}, true);
        device.run(10 * kSecond);
        const std::vector<int64_t>& waits = device.waits(0);
        EXPECT_GT(waits.size(), 1800u);
        EXPECT_LE(*std::max_element(waits.begin(), waits.end()), std::max<int64_t>(op, 100'000));
        const int64_t one = device.busy(1, 0, 10 * kSecond), other = device.busy(2, 0, 10 * kSecond);
        EXPECT_NEAR(static_cast<double>(one) / static_cast<double>(one + other), 0.5, 0.003) << op;
    }
}

TEST(PriorityWithinShare, alone_it_has_all_that_others_leave) {
    SerialDevice device({{sharing(1000, 1), {200'000}}, {sharing(9000), {200'000}, 0, 0, 20 * kSecond}});
    device.run(10 * kSecond);
    EXPECT_GT(percent(device, 0, 0, 10 * kSecond), 99);
}

TEST(PriorityWithinShare, who_comes_with_short_pauses_saves_nothing_for_later) {
    // It uses less than its half for 5 s, and never pauses for as long as an absence; then it wants everything.
    Load modest{sharing(5000, 1), {100'000}, 200'000, 3'800'000};
    modest.off_until_ns = 5 * kSecond;
    SerialDevice device({modest, {sharing(5000), {100'000}}});
    device.run(10 * kSecond);
    EXPECT_LT(percent(device, 0, 0, 5 * kSecond), 45);
    EXPECT_GT(percent(device, 1, 5 * kSecond, 5 * kSecond + 200 * kMs), 25);
    EXPECT_NEAR(percent(device, 1, 6 * kSecond, 10 * kSecond), percent(device, 0, 6 * kSecond, 10 * kSecond), 2);
}

}  // namespace
}  // namespace flexnpu
