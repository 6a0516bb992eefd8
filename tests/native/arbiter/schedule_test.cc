// SPDX-License-Identifier: Apache-2.0
// The turn policy alone: cases a person can follow, and a modelled serial device under every mix of loads.
#include "arbiter/schedule.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "serial_device.h"

namespace flexnpu {
namespace {

std::vector<TurnView> waiting(std::vector<TurnView> views) {
    for (size_t i = 0; i < views.size(); ++i) set_waiting(views, i, true, 0);
    return views;
}

TEST(Schedule, nobody_in_demand_needs_no_turn_and_no_second_look) {
    const TurnPlan plan = schedule({sharing(5000), sharing(5000, 0, true)}, 0);
    EXPECT_TRUE(plan.empty());
    EXPECT_EQ(plan.look_again_ns, 0);
}

TEST(Schedule, who_is_alone_keeps_the_turn_without_another_look) {
    auto views = waiting({sharing(2500)});
    EXPECT_EQ(schedule(views, 0).open, 0u);
    open_turn(views, 0, 0);
    set_waiting(views, 0, false, 1);
    EXPECT_FALSE(is_contended(views, 0));
    const TurnPlan later = schedule(views, kSecond);
    EXPECT_TRUE(later.empty());
    EXPECT_EQ(later.look_again_ns, 0);
}

TEST(Schedule, a_newcomer_has_the_device_as_soon_as_the_holder_has_drained) {
    auto views = waiting({sharing(2500), sharing(7500)});
    set_waiting(views, 1, false, 0);
    open_turn(views, 0, 0);
    set_waiting(views, 1, true, kSecond);
    EXPECT_TRUE(is_contended(views, 0));
    EXPECT_EQ(schedule(views, kSecond).close, std::vector<size_t>{0});
    close_turn(views, 0, kSecond);
    EXPECT_TRUE(schedule(views, kSecond + kMs).empty());
    end_turn(views, 0, 0, kSecond + kMs);
    EXPECT_EQ(schedule(views, kSecond + kMs).open, 1u);
}

TEST(Schedule, slices_follow_the_shares_of_those_in_demand) {
    auto views = waiting({sharing(1000), sharing(3000), sharing(6000)});
    EXPECT_EQ(slice_ns(views, 1), 1'500'000);
    set_waiting(views, 2, false, 0);
    EXPECT_EQ(slice_ns(views, 1), 3'750'000);
    EXPECT_EQ(slice_ns(views, 1, true), 1'500'000);
    EXPECT_EQ(slice_ns(waiting({sharing(100), sharing(9900)}), 0), 300'000);
}

TEST(Schedule, a_slice_is_closed_when_it_is_over_and_not_before) {
    auto views = waiting({sharing(5000), sharing(5000)});
    open_turn(views, 0, 0);
    set_waiting(views, 0, false, 0);
    const TurnPlan early = schedule(views, kMs);
    EXPECT_TRUE(early.empty());
    EXPECT_EQ(early.look_again_ns, 1'500'000);
    EXPECT_EQ(schedule(views, 2'500'000).close, std::vector<size_t>{0});
}

TEST(Schedule, a_turn_that_is_closing_is_not_opened_anew_before_it_has_drained) {
    auto views = waiting({sharing(5000), sharing(5000)});
    open_turn(views, 0, 0);
    close_turn(views, 0, 0);
    EXPECT_FALSE(schedule(views, 0).open) << "both are level, so the first would be taken once more";
    end_turn(views, 0, 0, 0);
    EXPECT_TRUE(schedule(views, 0).open);
}

TEST(Schedule, a_higher_priority_is_let_in_before_the_lower_has_drained_and_not_beside_an_equal) {
    auto views = waiting({sharing(4000), sharing(4000), sharing(1000, 1), sharing(1000, 1)});
    set_waiting(views, 2, false, 0);
    set_waiting(views, 3, false, 0);
    open_turn(views, 0, 0);
    set_waiting(views, 2, true, 100);
    const TurnPlan plan = schedule(views, 100);
    EXPECT_EQ(plan.close, std::vector<size_t>{0});
    EXPECT_EQ(plan.open, 2u);
    close_turn(views, 0, 100);
    open_turn(views, 2, 100);
    set_waiting(views, 2, false, 200);
    set_waiting(views, 3, true, 200);
    EXPECT_TRUE(schedule(views, 2 * kMs).empty());  // its slice begins when the device is its own
    end_turn(views, 0, 0, 2 * kMs);
    const TurnPlan equal = schedule(views, 4 * kMs);
    EXPECT_EQ(equal.close, std::vector<size_t>{2});
    EXPECT_FALSE(equal.open);
}

TEST(Schedule, who_is_preempted_pays_until_it_has_drained_and_the_other_from_there) {
    auto views = waiting({sharing(5000), sharing(5000, 1)});
    open_turn(views, 0, 0);
    close_turn(views, 0, 1000);
    open_turn(views, 1, 1000);
    end_turn(views, 0, 0, 1800);
    EXPECT_EQ(views[0].used_ns, 1800u);
    close_turn(views, 1, 5000);
    end_turn(views, 1, 0, 5000);
    EXPECT_EQ(views[1].used_ns, 3200u);
}

TEST(Schedule, a_fixed_share_waits_for_its_tokens_even_alone) {
    auto views = waiting({sharing(2500, 0, true)});
    views[0].tokens_ns = 0;
    views[0].tokens_at_ns = 0;
    const TurnPlan none = schedule(views, 0);
    EXPECT_FALSE(none.open);
    EXPECT_EQ(none.look_again_ns, 5 * kMs);
    EXPECT_EQ(schedule(views, 5 * kMs).open, 0u);
    open_turn(views, 0, 5 * kMs);
    const TurnPlan held = schedule(views, 5 * kMs);
    EXPECT_NEAR(static_cast<double>(held.look_again_ns), 1.25e6 / 0.75, 2);
    EXPECT_EQ(schedule(views, 5 * kMs + held.look_again_ns + 2).close, std::vector<size_t>{0});
}

TEST(Schedule, time_that_was_not_wanted_is_not_saved_up) {
    auto views = waiting({sharing(5000), sharing(5000)});
    set_waiting(views, 1, false, 0);
    open_turn(views, 0, 0);
    close_turn(views, 0, kSecond);
    end_turn(views, 0, 0, kSecond);
    set_waiting(views, 1, true, kSecond);
    EXPECT_NEAR(views[1].virtual_ns, views[0].virtual_ns, 1);
}

TEST(Schedule, no_tenant_is_let_off_much_more_than_the_others_by_what_it_says) {
    auto views = waiting({sharing(5000), sharing(5000), sharing(5000)});
    for (int round = 0; round < 100; ++round) {
        for (size_t i = 0; i < 3; ++i) {
            const int64_t from = (round * 3 + static_cast<int64_t>(i)) * kMs;
            open_turn(views, i, from);
            close_turn(views, i, from + kMs);
            end_turn(views, i, i == 2 ? 1 : 900'000, from + kMs);  // the last one denies nearly all its work
        }
    }
    EXPECT_NEAR(static_cast<double>(views[0].used_ns), 100 * 0.9e6, 1e6);
    EXPECT_GE(static_cast<double>(views[2].used_ns), static_cast<double>(views[0].used_ns) - 100 * 0.1e6 - 1e6);
}

TEST(Schedule, a_stall_of_a_moment_is_not_charged_and_stalls_without_end_are) {
    auto views = waiting({sharing(5000), sharing(5000)});
    open_turn(views, 0, kSecond);
    close_turn(views, 0, kSecond + 8 * kMs);
    end_turn(views, 0, 1'000'000, kSecond + 8 * kMs);
    EXPECT_NEAR(static_cast<double>(views[0].used_ns), 6e6, 0.5e6) << "a second earns two ms";
    const uint64_t before = views[0].used_ns;
    for (int round = 0; round < 100; ++round) {
        const int64_t from = 2 * kSecond + 10 * round * kMs;
        open_turn(views, 0, from);
        close_turn(views, 0, from + 5 * kMs);
        end_turn(views, 0, 1'000'000, from + 5 * kMs);
    }
    EXPECT_GT(static_cast<double>(views[0].used_ns - before), 450e6);
}

TEST(Schedule, who_was_late_for_its_turn_has_its_place_back_when_it_is_there_but_not_time_and_again) {
    auto views = waiting({sharing(2500), sharing(2500), sharing(2500), sharing(2500)});
    for (TurnView& view : views) view.last_ns = kSecond;
    views[0].last_ns = kSecond - 7 * kMs;
    int64_t now = kSecond;
    for (const bool again : {true, true, false}) {
        open_turn(views, 0, now);
        close_turn(views, 0, now += kMs);
        end_turn(views, 0, std::nullopt, now);
        EXPECT_NE(schedule(views, now).open, 0u);
        come_late(views, 0);
        EXPECT_EQ(schedule(views, now).open == 0u, again);
    }
    EXPECT_EQ(views[0].used_ns, 3'000'000u) << "the others waited for it";
    open_turn(views, 0, now);
    close_turn(views, 0, now += kMs);
    end_turn(views, 0, 1'000'000, now);
    come_late(views, 0);
    EXPECT_EQ(views[0].last_ns, now) << "it was there";
}

TEST(Schedule, who_never_comes_for_its_turns_has_the_others_wait_for_its_share_at_most) {
    auto views = waiting({sharing(2500), sharing(2500), sharing(2500), sharing(2500)});
    int64_t now = kSecond, waited = 0;
    while (now < 3 * kSecond) {
        const std::optional<size_t> next = schedule(views, now).open;
        ASSERT_TRUE(next);
        open_turn(views, *next, now);
        const int64_t length = slice_ns(views, *next);
        now += length;
        if (*next == 0) waited += length;
        close_turn(views, *next, now);
        end_turn(views, *next, *next == 0 ? std::nullopt : std::optional<uint64_t>(length), now);
        come_late(views, 0);  // it says that it is there, and is not
    }
    EXPECT_LE(static_cast<double>(waited), 0.25 * 2e9 + 10e6);
}

TEST(Schedule, who_has_waited_for_the_long_operators_of_one_other_may_overrun_as_well_until_it_has_caught_up) {
    auto views = waiting({sharing(5000), sharing(5000)});
    EXPECT_EQ(catch_up(views, 0).ns, 0);
    open_turn(views, 0, 0);
    close_turn(views, 0, kMs);
    end_turn(views, 0, 11'000'000, 11 * kMs);
    EXPECT_EQ(catch_up(views, 11 * kMs).at, 1u);
    EXPECT_EQ(catch_up(views, 11 * kMs).ns, 8'500'000) << "11 ms in a slice of 2.5";
    open_turn(views, 1, 11 * kMs);
    EXPECT_EQ(catch_up(views, 21 * kMs).ns, 8'500'000);
    EXPECT_NE(catch_up(views, 23 * kMs).at, 1u);
    views.push_back(sharing(5000));
    set_waiting(views, 2, true, 11 * kMs);
    EXPECT_EQ(catch_up(views, 11 * kMs).ns, 0) << "a third one waits for both";
}

TEST(Schedule, nobody_catches_up_on_slices_that_are_as_long_as_they_were_to_be) {
    auto views = waiting({sharing(5000), sharing(5000, 1)});
    open_turn(views, 0, 0);
    close_turn(views, 0, 2'500'000);
    end_turn(views, 0, 2'500'000, 2'500'000);
    EXPECT_EQ(catch_up(views, 2'500'000).ns, 0);
}

TEST(Schedule, who_needs_longer_to_hand_over_is_not_charged_for_it) {
    auto views = waiting({sharing(5000), sharing(5000), sharing(5000)});
    for (int round = 0; round < 100; ++round) {
        for (size_t i = 0; i < 3; ++i) {
            const int64_t from = (round * 3 + static_cast<int64_t>(i)) * kMs;
            open_turn(views, i, from);
            close_turn(views, i, from + kMs);
            end_turn(views, i, i == 0 ? 1'090'000 : 870'000, from + kMs);  // the first one leaves before it is over
        }
    }
    EXPECT_NEAR(static_cast<double>(views[0].used_ns), 100 * 1.09e6, 1e6);
    EXPECT_NEAR(static_cast<double>(views[2].used_ns), 100 * 0.87e6, 1e6);
}

TEST(Schedule, what_comes_after_the_operator_of_another_keeps_its_priority_and_pays_for_its_own_alone) {
    auto views = waiting({sharing(8000), sharing(2000, 1)});
    open_turn(views, 0, 0);
    close_turn(views, 0, kMs);
    open_turn(views, 1, kMs);
    EXPECT_TRUE(views[1].behind);
    EXPECT_TRUE(schedule(views, 20 * kMs).empty());  // its priority would not last for so long
    end_turn(views, 0, 20'000'000, 20 * kMs);
    EXPECT_FALSE(views[1].behind);
    close_turn(views, 1, 20 * kMs + 200'000);
    end_turn(views, 1, 200'000, 20 * kMs + 200'000);
    EXPECT_EQ(views[1].used_ns, 200'000u);
    EXPECT_LT(views[1].longest_ns, kMs);
    EXPECT_EQ(views[1].drain_ns, 0);
}

TEST(Schedule, what_is_over_before_the_one_it_came_after_ran_beside_it) {
    auto views = waiting({sharing(5000), sharing(4000, 1), sharing(1000, 2)});
    open_turn(views, 0, 0);
    close_turn(views, 0, kMs);
    open_turn(views, 1, kMs);
    close_turn(views, 1, 2 * kMs);
    open_turn(views, 2, 2 * kMs);
    end_turn(views, 1, 300'000, 3 * kMs);
    EXPECT_EQ(views[1].used_ns, 300'000u);
    EXPECT_TRUE(views[2].behind);
    end_turn(views, 0, 0, 4 * kMs);
    EXPECT_FALSE(views[2].behind);
}

// --- on the modelled device ---

struct Mix {
    std::vector<Load> loads;
    int64_t longest() const {
        int64_t most = 0;
        for (const Load& load : loads) most = std::max(most, longest(load));
        return most;
    }
    static int64_t longest(const Load& load) { return *std::max_element(load.ops_ns.begin(), load.ops_ns.end()); }
};

double share_of(const SerialDevice& device, size_t tenant, size_t tenants, int64_t from, int64_t until) {
    int64_t all = 0;
    for (size_t i = 0; i < tenants; ++i) all += device.busy(i, from, until);
    return 100. * static_cast<double>(device.busy(tenant, from, until)) / static_cast<double>(all);
}

void expect_shares(const Mix& mix, const char* what) {
    SerialDevice device(mix.loads);
    device.run(10 * kSecond);
    double sum = 0;
    for (const Load& load : mix.loads) sum += load.view.share;
    for (size_t i = 0; i < mix.loads.size(); ++i) {
        const double quota = 100 * mix.loads[i].view.share / sum;
        EXPECT_NEAR(share_of(device, i, mix.loads.size(), 0, 10 * kSecond), quota, 0.3) << what << ", tenant " << i;
        for (int64_t from = 0; from < 9 * kSecond; from += 250 * kMs) {
            int64_t all = 0;
            for (size_t j = 0; j < mix.loads.size(); ++j) all += device.busy(j, from, from + kSecond);
            const double slack = 1 + 100. * static_cast<double>(mix.longest()) / static_cast<double>(all);
            EXPECT_NEAR(share_of(device, i, mix.loads.size(), from, from + kSecond), quota, slack)
                << what << ", tenant " << i << " from " << from / kMs << " ms";
        }
    }
}

std::vector<int64_t> random_ops(std::mt19937& random) {
    // 50 us to 20 ms, every scale as likely.
    std::uniform_real_distribution<double> scale(std::log(50e3), std::log(20e6));
    std::vector<int64_t> ops(1 + random() % 20);
    for (int64_t& op : ops) op = static_cast<int64_t>(std::exp(scale(random)));
    return ops;
}

TEST(Shares, of_ten_twenty_thirty_forty_and_of_a_quarter_are_kept) {
    const std::vector<int64_t> ops{200'000};
    expect_shares({{{sharing(1000), ops}, {sharing(2000), ops}, {sharing(3000), ops}, {sharing(4000), ops}}}, "10..40");
    expect_shares({{{sharing(2500), ops}, {sharing(7500), ops}}}, "25/75");
    expect_shares({{{sharing(2500), {20 * kMs}}, {sharing(7500), {50'000}}}},
                  "25/75, the small one with long operators");
    expect_shares({{{sharing(2500, 0, true), ops}, {sharing(7500, 0, true), ops}}}, "25/75, fixed");
}

class RandomMix : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomMix, of_operators_and_shares_keeps_every_share) {
    std::mt19937 random{GetParam()};
    Mix mix;
    const size_t tenants = 2 + GetParam() % 15;
    for (size_t i = 0; i < tenants; ++i) {
        const uint32_t share = 10'000 / static_cast<uint32_t>(tenants) * (50 + random() % 51) / 100;
        mix.loads.push_back({sharing(share), random_ops(random)});
    }
    expect_shares(mix, "random");
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomMix, testing::Range(0u, 45u));

TEST(Shares, a_fixed_one_alone_stays_at_its_share) {
    for (const int64_t op : {50'000l, 3 * kMs, 20 * kMs}) {
        SerialDevice device({{sharing(2500, 0, true), {op}}});
        device.run(10 * kSecond);
        EXPECT_NEAR(static_cast<double>(device.busy(0, 0, 10 * kSecond)) / 1e8, 25, 0.3) << op;
    }
}

TEST(Shares, a_fixed_one_beside_an_elastic_one_leaves_it_the_rest) {
    SerialDevice device({{sharing(2500, 0, true), {300'000}}, {sharing(2500), {300'000}}});
    device.run(10 * kSecond);
    EXPECT_NEAR(static_cast<double>(device.busy(0, 0, 10 * kSecond)) / 1e8, 25, 0.3);
    EXPECT_GT(static_cast<double>(device.busy(1, 0, 10 * kSecond)) / 1e8, 70);
}

TEST(Shares, an_elastic_one_alone_has_the_whole_device) {
    SerialDevice device({{sharing(1000), {200'000}}, {sharing(9000), {200'000}, 0, 0, 20 * kSecond}});
    device.run(10 * kSecond);
    EXPECT_GT(static_cast<double>(device.busy(0, 0, 10 * kSecond)) / 1e8, 99);
}

TEST(Shares, bursts_and_idlers_leave_the_others_in_their_proportions) {
    SerialDevice device({{sharing(1000), {200'000}},
                         {sharing(3000), {200'000}},
                         {sharing(4000), {500'000}, 30 * kMs, 170 * kMs},
                         {sharing(2000), {50'000}, 0, 0, 20 * kSecond}});
    device.run(10 * kSecond);
    const auto one = static_cast<double>(device.busy(0, 0, 10 * kSecond));
    const auto three = static_cast<double>(device.busy(1, 0, 10 * kSecond));
    EXPECT_NEAR(100 * one / (one + three), 25, 0.3);
    // A burst is served at its share as soon as it comes, not later and not from savings.
    for (int64_t from = 0; from < 10 * kSecond; from += 200 * kMs) {
        EXPECT_NEAR(share_of(device, 2, 3, from, from + 30 * kMs), 50, 14) << from / kMs;
    }
}

// The longest stretch in which the device did not work for it, though it always has work, less the host's stalls in it.
int64_t longest_gap(const SerialDevice& device, size_t tenant) {
    int64_t last = -1, most = 0;
    for (const Work& work : device.work()) {
        if (work.tenant != tenant) continue;
        if (last >= 0) most = std::max(most, work.from_ns - last - device.stalled(tenant, last, work.from_ns));
        last = work.until_ns;
    }
    return most;
}

TEST(Gaps, stay_under_ten_milliseconds_beyond_the_running_operator) {
    for (const int64_t other : {50'000l, 1 * kMs, 5 * kMs, 20 * kMs}) {
        for (const size_t tenants : {2u, 4u, 8u, 16u}) {
            Mix mix;
            const auto share = static_cast<uint32_t>(10'000 / tenants);
            for (size_t i = 0; i < tenants; ++i) {
                mix.loads.push_back({sharing(share), {i == 1 ? other : 50'000}});
            }
            SerialDevice device(mix.loads);
            device.run(5 * kSecond);
            EXPECT_LT(longest_gap(device, 0), 10 * kMs + other)
                << tenants << " tenants, one with operators of " << other;
        }
    }
    SerialDevice device(
        {{sharing(1000), {50'000}}, {sharing(2000), {50'000}}, {sharing(3000), {50'000}}, {sharing(4000), {50'000}}});
    device.run(5 * kSecond);
    for (size_t i = 0; i < 4; ++i) EXPECT_LT(longest_gap(device, i), 10 * kMs) << i;
}

TEST(Gaps, stay_so_where_threads_of_the_host_are_late_for_their_turns) {
    for (const SerialDevice::Stalls stalls :
         {SerialDevice::Stalls{30, 400'000, 1}, SerialDevice::Stalls{3, 3 * kMs, 2}}) {
        for (const size_t tenants : {4u, 8u, 16u}) {
            std::vector<Load> loads;
            for (size_t i = 0; i < tenants; ++i) {
                loads.push_back({sharing(static_cast<uint32_t>(10'000 / tenants)), {200'000}});
            }
            SerialDevice device(loads, stalls);
            device.run(5 * kSecond);
            for (size_t i = 0; i < tenants; ++i) {
                EXPECT_LT(longest_gap(device, i), 10 * kMs) << i << " of " << tenants;
                EXPECT_NEAR(share_of(device, i, tenants, 0, 5 * kSecond), 100. / static_cast<double>(tenants), 0.3);
            }
        }
    }
}

TEST(Gaps, stay_so_for_who_has_to_pay_for_a_turn_that_ended_late) {
    for (const auto& [tenants, debt] : {std::pair<size_t, double>{4, 5e6}, {16, 3e6}}) {
        std::vector<Load> loads;
        for (size_t i = 0; i < tenants; ++i) {
            loads.push_back({sharing(static_cast<uint32_t>(10'000 / tenants)), {200'000}});
            loads[i].view.left_ns = 0;  // none has been away for so long that debts are forgotten
        }
        loads[0].view.virtual_ns = debt * static_cast<double>(tenants);
        SerialDevice device(loads);
        device.run(5 * kSecond);
        EXPECT_LT(longest_gap(device, 0), 10 * kMs + 200'000) << tenants;
        EXPECT_NEAR(share_of(device, 0, tenants, 4 * kSecond, 5 * kSecond), 100. / static_cast<double>(tenants), 0.1);
        const int64_t paid = device.busy(1, 0, 4 * kSecond) - device.busy(0, 0, 4 * kSecond);
        EXPECT_NEAR(static_cast<double>(paid), debt, 0.6e6) << tenants;
    }
}

TEST(Priority, a_critical_tenant_waits_for_what_is_in_flight_and_to_be_woken) {
    for (const int64_t op : {50'000l, 1 * kMs, 20 * kMs}) {
        SerialDevice device(
            {{sharing(5000), {op}}, {sharing(4000), {op}}, {sharing(1000, 1), {200'000}, 200'000, 7 * kMs}});
        device.run(10 * kSecond);
        ASSERT_GT(device.waits(2).size(), 100u);
        const int64_t most = *std::max_element(device.waits(2).begin(), device.waits(2).end());
        EXPECT_LE(most, std::max<int64_t>(op, 100'000) + SerialDevice::kWakeNs + SerialDevice::kNoticeNs) << op;
    }
}

}  // namespace
}  // namespace flexnpu
