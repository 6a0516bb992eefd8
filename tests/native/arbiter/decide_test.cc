// SPDX-License-Identifier: Apache-2.0
// The decision alone: cases a person can follow, and a random walk over every kind of change.
#include "arbiter/decide.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace flexnpu {
namespace {

constexpr Cores kDevice{24, 48};

Cores both(uint32_t cubes) { return {cubes, 2 * cubes}; }

Grant grant(uint32_t number, uint32_t cubes, bool time_shared = false) {
    return {number, number, both(cubes), {}, time_shared};
}

VNpuView settled(uint32_t cores, uint32_t live = 1, uint32_t number = 1) {
    VNpuView vnpu;
    vnpu.desired = {number, both(cores), cores, false};
    vnpu.granted = grant(number, cores);
    vnpu.live_tenants = live;
    vnpu.applied = number;
    return vnpu;
}

VNpuView wanting(VNpuView vnpu, uint32_t cores) {
    vnpu.desired = {vnpu.granted.revision + 1, both(cores), cores, vnpu.desired.time_shared};
    return vnpu;
}

VNpuView sharing(VNpuView vnpu) {
    vnpu.desired.time_shared = vnpu.granted.time_shared = true;
    return vnpu;
}

VNpuView bursting(VNpuView vnpu, uint32_t burst) {
    vnpu.desired.burst = burst;
    vnpu.launching = true;
    return vnpu;
}

VNpuView idle(VNpuView vnpu) {
    vnpu.idle = true;
    return vnpu;
}

void take(Snapshot& snapshot, const Plan& plan) {
    for (const Plan::Step& step : plan.steps) {
        VNpuView& vnpu = snapshot.vnpus[step.vnpu];
        vnpu.older.push_back(vnpu.granted);
        vnpu.granted = step.grant;
    }
}

void acknowledge(Snapshot& snapshot) {
    for (VNpuView& vnpu : snapshot.vnpus) vnpu.applied = vnpu.granted.number;
}

uint32_t held(const Snapshot& snapshot) { return held_cores(snapshot.vnpus).cube; }

TEST(Decide, a_settled_device_needs_nothing_and_no_second_look) {
    const Plan plan = decide({kDevice, {settled(12), settled(12)}}, 0);
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(plan.look_again_ns, 0);
}

TEST(Decide, a_growth_waits_until_the_shrink_is_applied) {
    Snapshot snapshot{kDevice, {wanting(settled(12), 18), wanting(settled(12), 6)}};
    const Plan shrink = decide(snapshot, 0);
    ASSERT_EQ(shrink.steps, (std::vector<Plan::Step>{{1, grant(2, 6)}}));
    EXPECT_GT(shrink.look_again_ns, 0);
    take(snapshot, shrink);
    EXPECT_TRUE(decide(snapshot, 0).steps.empty());

    snapshot.vnpus[1].applied = 2;
    const Plan growth = decide(snapshot, 0);
    EXPECT_EQ(growth.steps, (std::vector<Plan::Step>{{0, grant(2, 18)}}));
}

TEST(Decide, a_growth_waits_until_the_device_is_clear_of_what_was_launched_before_the_shrink) {
    Snapshot snapshot{kDevice, {wanting(settled(12), 18), wanting(settled(12), 6)}};
    take(snapshot, decide(snapshot, 0));
    snapshot.vnpus[1].applied = 2;
    snapshot.vnpus[1].clear = 1;
    const Plan waiting = decide(snapshot, 0);
    EXPECT_TRUE(waiting.steps.empty());
    EXPECT_GT(waiting.look_again_ns, 0);
    EXPECT_EQ(held(snapshot), 24u);

    snapshot.vnpus[1].clear = 2;
    EXPECT_EQ(decide(snapshot, 0).steps, (std::vector<Plan::Step>{{0, grant(2, 18)}}));
}

TEST(Decide, who_takes_back_what_it_lent_does_not_wait_for_the_borrower_to_be_clear) {
    VNpuView borrower = bursting(settled(6), 24);
    borrower.older = {{1, 1, both(6), both(18), false}};
    borrower.granted = {2, 1, both(6), {}, false};
    borrower.applied = 2;
    borrower.clear = 1;
    EXPECT_EQ(held_cores(borrower).cube, 6u);
}

TEST(Decide, without_a_live_tenant_a_move_takes_one_step) {
    const Plan plan = decide({kDevice, {wanting(settled(12, 0), 18), wanting(settled(12, 0), 6)}}, 0);
    EXPECT_EQ(plan.steps.size(), 2u);
    EXPECT_EQ(plan.look_again_ns, 0);
}

TEST(Decide, taking_back_a_shrink_that_was_not_applied_needs_no_room) {
    Snapshot snapshot{kDevice, {wanting(settled(18), 6), settled(6)}};
    take(snapshot, decide(snapshot, 0));
    snapshot.vnpus[0].desired = {3, both(18), 18, false};
    EXPECT_EQ(decide(snapshot, 0).steps, (std::vector<Plan::Step>{{0, grant(3, 18)}}));
}

TEST(Decide, every_unapplied_older_grant_counts_not_only_the_last) {
    VNpuView vnpu = settled(20);
    vnpu.older = {grant(1, 20), grant(2, 10)};
    vnpu.granted = grant(3, 4);
    vnpu.applied = 1;
    EXPECT_EQ(held_cores(vnpu).cube, 20u);
    vnpu.applied = 2;
    EXPECT_EQ(held_cores(vnpu).cube, 10u);
    vnpu.live_tenants = 0;
    EXPECT_EQ(held_cores(vnpu).cube, 4u);
}

TEST(Decide, a_tenant_that_does_not_apply_is_looked_at_less_and_less_often) {
    VNpuView vnpu = settled(12);
    vnpu.granted = grant(2, 6);
    vnpu.desired = {2, both(6), 6, false};
    const auto wait_at = [&](int64_t now_ns) { return decide({kDevice, {vnpu}}, now_ns).look_again_ns; };
    EXPECT_EQ(wait_at(100'000), 200'000);
    EXPECT_EQ(wait_at(20'000'000), 5'000'000);
    EXPECT_EQ(wait_at(60'000'000'000), 10'000'000);
}

TEST(Decide, a_revision_is_applied_when_a_grant_that_fulfils_it_is) {
    Snapshot snapshot{kDevice, {wanting(settled(12), 6)}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted.revision, 2u);
    EXPECT_EQ(applied_revision(snapshot.vnpus[0]), 1u);
    acknowledge(snapshot);
    EXPECT_EQ(applied_revision(snapshot.vnpus[0]), 2u);
}

TEST(Decide, cubes_and_vectors_change_hands_even_when_they_go_opposite_ways) {
    Snapshot snapshot{kDevice, {settled(12), settled(12)}};
    snapshot.vnpus[0].desired = {2, {6, 40}, 6, false};
    snapshot.vnpus[1].desired = {2, {18, 8}, 18, false};
    for (int round = 0; round < 2; ++round) {
        take(snapshot, decide(snapshot, 0));
        EXPECT_LE(held_cores(snapshot.vnpus).cube, 24u);
        EXPECT_LE(held_cores(snapshot.vnpus).vector, 48u);
        acknowledge(snapshot);
    }
    EXPECT_EQ(snapshot.vnpus[0].granted.own, (Cores{6, 40}));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, (Cores{18, 8}));
}

TEST(Decide, those_who_share_the_device_in_time_need_the_cores_of_their_largest) {
    Snapshot snapshot{kDevice, {settled(12), sharing(settled(0)), sharing(settled(12))}};
    snapshot.vnpus[1] = wanting(snapshot.vnpus[1], 12);
    const Plan plan = decide(snapshot, 0);
    ASSERT_EQ(plan.steps.size(), 1u);
    EXPECT_EQ(plan.steps[0].grant, grant(2, 12, true));
    take(snapshot, plan);
    EXPECT_EQ(held(snapshot), 24u);
}

TEST(Decide, leaving_the_shared_time_is_a_growth_and_entering_it_is_not) {
    Snapshot snapshot{kDevice, {sharing(settled(16)), sharing(settled(16))}};
    snapshot.vnpus[0].desired = {2, both(12), 12, false};
    snapshot.vnpus[1].desired = {2, both(12), 12, false};
    take(snapshot, decide(snapshot, 0));
    EXPECT_TRUE(snapshot.vnpus[0].granted.time_shared && snapshot.vnpus[1].granted.time_shared);
    for (int round = 0; round < 3; ++round) {
        acknowledge(snapshot);
        take(snapshot, decide(snapshot, 0));
        EXPECT_LE(held(snapshot), 24u);
    }
    EXPECT_FALSE(snapshot.vnpus[0].granted.time_shared || snapshot.vnpus[1].granted.time_shared);
    snapshot.vnpus[0].desired.time_shared = true;
    snapshot.vnpus[0].desired.revision = 3;
    EXPECT_EQ(decide(snapshot, 0).steps.size(), 1u);
}

VNpuView wanting_turns(VNpuView vnpu, uint32_t cores) {
    vnpu.desired = {vnpu.granted.revision + 1, both(cores), cores, true};
    return vnpu;
}

VNpuView wanting_a_part(VNpuView vnpu, uint32_t cores) {
    vnpu.desired = {vnpu.granted.revision + 1, both(cores), cores, false};
    return vnpu;
}

TEST(Decide, two_that_part_the_device_come_to_share_it_with_their_old_cores_first) {
    Snapshot snapshot{kDevice, {wanting_turns(settled(18), 24), wanting_turns(settled(6), 24)}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{2, 1, both(18), {}, true}));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{2, 1, both(6), {}, true}));
    snapshot.vnpus[0].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted.own, both(18)) << "beside 6 that the other may still launch at any time";
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{3, 2, both(24), {}, true}));
    EXPECT_EQ(held(snapshot), 24u);
    snapshot.vnpus[1].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{3, 2, both(24), {}, true}));
    EXPECT_EQ(held(snapshot), 24u);
}

TEST(Decide, two_that_share_the_device_part_it_once_neither_can_launch_what_was_cut_for_all_of_it) {
    Snapshot snapshot{kDevice, {wanting_a_part(sharing(settled(24)), 18), wanting_a_part(sharing(settled(24)), 6)}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{2, 1, both(18), {}, true}));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{2, 1, both(6), {}, true}));
    snapshot.vnpus[0].applied = 2;
    EXPECT_TRUE(decide(snapshot, 0).steps.empty());
    snapshot.vnpus[1].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{3, 2, both(18), {}, false}));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{3, 2, both(6), {}, false}));
    EXPECT_EQ(applied_revision(snapshot.vnpus[0]), 1u);
}

TEST(Decide, who_goes_first_in_the_shared_time_shrinks_last_when_they_part) {
    Snapshot snapshot{kDevice, {wanting_a_part(sharing(settled(24)), 18), wanting_a_part(sharing(settled(24)), 6)}};
    snapshot.vnpus[1].priority = 1;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{2, 1, both(18), {}, true}));
    EXPECT_EQ(snapshot.vnpus[1].granted, grant(1, 24, true)) << "in its turns it has all of them still";
    const Plan waiting = decide(snapshot, 0);
    EXPECT_TRUE(waiting.steps.empty());
    EXPECT_GT(waiting.look_again_ns, 0);
    snapshot.vnpus[0].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{2, 1, both(6), {}, true}));
    snapshot.vnpus[1].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted, (Grant{3, 2, both(18), {}, false}));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{3, 2, both(6), {}, false}));
}

TEST(Decide, nobody_waits_with_shrinking_for_one_that_has_no_tenants) {
    Snapshot snapshot{kDevice, {wanting_a_part(sharing(settled(24, 0)), 18), wanting_a_part(sharing(settled(24)), 6)}};
    snapshot.vnpus[1].priority = 1;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(6));
}

TEST(Decide, who_goes_first_does_not_wait_to_shrink_for_one_that_holds_less) {
    Snapshot snapshot{kDevice, {wanting_a_part(sharing(settled(8)), 4), wanting_a_part(sharing(settled(24)), 12)}};
    snapshot.vnpus[1].priority = 1;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(12)) << "a third one may wait for these cores";
    snapshot.vnpus[1].applied = 2;
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted, (Grant{3, 2, both(12), {}, false})) << "the first never acknowledges";
}

TEST(Decide, who_waits_to_shrink_gives_back_at_once_what_was_lent_to_it) {
    VNpuView higher = wanting_a_part(sharing(settled(12)), 6);
    higher.priority = 1;
    higher.granted.lent = both(12);
    Snapshot snapshot{kDevice, {wanting_a_part(sharing(settled(12)), 6), higher, settled(12)}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(12));
    EXPECT_EQ(snapshot.vnpus[1].granted.lent, both(0));
}

TEST(Decide, what_is_lent_to_one_keeps_nobody_from_parting) {
    VNpuView lower = wanting_a_part(sharing(bursting(settled(12), 24)), 12);
    lower.desired.burst = 24;
    VNpuView higher = wanting_a_part(sharing(settled(24)), 6);
    higher.priority = 1;
    Snapshot snapshot{kDevice, {lower, higher}};
    for (int i = 0; i < 6; ++i) {
        take(snapshot, decide(snapshot, 0));
        acknowledge(snapshot);
    }
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(6));
    EXPECT_FALSE(snapshot.vnpus[0].granted.time_shared || snapshot.vnpus[1].granted.time_shared);
    EXPECT_EQ(snapshot.vnpus[0].granted.all(), both(18));
}

TEST(Decide, what_was_cut_for_a_turn_counts_at_any_time_once_the_gate_stands_open) {
    VNpuView vnpu = settled(12, 1, 2);
    vnpu.older = {{1, 1, both(18), {}, true}};
    vnpu.applied = 1;
    Snapshot snapshot{kDevice, {vnpu, sharing(settled(0)), settled(6)}};
    snapshot.vnpus[1] = wanting_turns(snapshot.vnpus[1], 6);
    EXPECT_TRUE(decide(snapshot, 0).steps.empty()) << "18 at any time, and 6 beside them";
    snapshot.vnpus[0].applied = 2;
    EXPECT_EQ(decide(snapshot, 0).steps.size(), 1u);
}

TEST(Decide, idle_cores_are_lent_evenly_as_far_as_the_burst_goes) {
    Snapshot snapshot{kDevice, {idle(settled(10)), bursting(settled(7), 24), bursting(settled(7), 9)}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.lent, both(8));
    EXPECT_EQ(snapshot.vnpus[2].granted.lent, both(2));
    EXPECT_EQ(snapshot.vnpus[0].granted, grant(1, 10));
    EXPECT_EQ(snapshot.vnpus[1].granted.revision, 1u);
    EXPECT_EQ(held(snapshot), 24u);
}

TEST(Decide, cores_that_are_promised_to_nobody_are_lent_too_but_not_to_who_sleeps_or_is_not_there) {
    EXPECT_EQ(decide({kDevice, {bursting(settled(6), 12), settled(6)}}, 0).steps.at(0).grant.lent, both(6));
    EXPECT_TRUE(decide({kDevice, {idle(bursting(settled(6), 12)), settled(6)}}, 0).steps.empty());
    EXPECT_TRUE(decide({kDevice, {bursting(settled(6, 0), 12), settled(6)}}, 0).steps.empty());
    VNpuView silent = bursting(settled(6), 12);
    silent.launching = false;
    EXPECT_TRUE(decide({kDevice, {silent, settled(6)}}, 0).steps.empty());
}

TEST(Decide, what_is_lent_goes_back_at_once_when_its_owner_wakes_or_is_to_change) {
    Snapshot snapshot{kDevice, {idle(settled(12)), bursting(settled(12), 24)}};
    take(snapshot, decide(snapshot, 0));
    acknowledge(snapshot);
    ASSERT_EQ(snapshot.vnpus[1].granted.all(), both(24));
    Snapshot woken = snapshot;
    woken.vnpus[0].idle = false;
    const Plan back = decide(woken, 0);
    ASSERT_EQ(back.steps.size(), 1u);
    EXPECT_EQ(back.steps[0].grant.all(), both(12));
    snapshot.vnpus[0] = wanting(snapshot.vnpus[0], 6);
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted.own, both(6));
    EXPECT_LE(snapshot.vnpus[1].granted.all().cube, 18u);
}

TEST(Decide, a_guarantee_takes_back_what_stands_in_its_way) {
    Snapshot snapshot{kDevice, {bursting(settled(12), 24), settled(0)}};
    take(snapshot, decide(snapshot, 0));
    acknowledge(snapshot);
    ASSERT_EQ(snapshot.vnpus[0].granted.all(), both(24));
    snapshot.vnpus[1] = wanting(snapshot.vnpus[1], 12);
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[0].granted.all(), both(12));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(0));
    acknowledge(snapshot);
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.own, both(12));
}

TEST(Decide, in_its_turn_one_may_have_what_the_largest_of_them_has) {
    Snapshot snapshot{kDevice, {settled(12), sharing(bursting(settled(4), 24)), sharing(settled(12))}};
    take(snapshot, decide(snapshot, 0));
    EXPECT_EQ(snapshot.vnpus[1].granted.all(), both(12));
    EXPECT_EQ(held(snapshot), 24u);
}

// A random device life: quotas change, of one vNPU or of several in one move, between parted cores and time on all of
// them (what is desired always fits, as admission sees to); tenants come, go, and apply late or never in between. At
// the end everybody acknowledges.
class RandomWalk : public testing::TestWithParam<uint32_t> {
  protected:
    std::mt19937 random_{GetParam()};
    Snapshot snapshot_;

    uint32_t below(uint32_t limit) { return std::uniform_int_distribution<uint32_t>(0, limit - 1)(random_); }

    // Cores that are left for this one, where it takes turns or not.
    uint32_t room(const VNpuView& apart, bool time_shared) const {
        uint32_t always = 0, turns = 0;
        for (const VNpuView& other : snapshot_.vnpus) {
            if (&other == &apart) continue;
            if (other.desired.time_shared) turns = std::max(turns, other.desired.own.cube);
            if (!other.desired.time_shared) always += other.desired.own.cube;
        }
        const uint32_t taken = time_shared ? always : always + turns;
        return snapshot_.device.cube - std::min(taken, snapshot_.device.cube);
    }

    bool want(VNpuView& vnpu, bool time_shared) {
        const uint32_t most = room(vnpu, time_shared);
        if (most == 0) return false;
        const uint32_t cores = time_shared && below(2) == 0 ? most : 1 + below(most);
        woken_ = woken_ || vnpu.idle;  // who is to change lends no more
        vnpu.desired = {vnpu.desired.revision + 1, both(cores), cores + below(8), time_shared};
        return true;
    }

    void change_quota(VNpuView& vnpu) { want(vnpu, below(3) == 0); }

    // A rebalance: each to a form of its own, or all to one.
    void change_quotas() {
        const std::vector<VNpuView> before = snapshot_.vnpus;
        const uint32_t kind = below(3);
        std::vector<VNpuView*> moved;
        for (VNpuView& vnpu : snapshot_.vnpus) {
            if (kind < 2 || below(2) == 0) moved.push_back(&vnpu);
        }
        std::shuffle(moved.begin(), moved.end(), random_);
        for (VNpuView* vnpu : moved) vnpu->desired.own = {};
        bool fits = true;
        for (VNpuView* vnpu : moved) fits = fits && want(*vnpu, kind == 2 ? below(2) == 0 : kind == 0);
        if (!fits) snapshot_.vnpus = before;
    }

    void report(VNpuView& vnpu) {
        const uint32_t behind = vnpu.granted.number - std::min(vnpu.applied, vnpu.granted.number);
        vnpu.applied += below(behind + 1);
    }

    void come_or_go(VNpuView& vnpu) {
        if (vnpu.live_tenants == 0) {
            vnpu.live_tenants = 1;
            vnpu.older.clear();
            vnpu.applied = vnpu.granted.number;
        } else {
            vnpu.live_tenants = 0;
        }
    }

    void step() {
        take(snapshot_, decide(snapshot_, 0));
        ASSERT_LE(at_once(), snapshot_.device.cube);
        if (!woken_) {
            ASSERT_LE(held(snapshot_), snapshot_.device.cube);
        }
    }

    // The most cores of guarantees at work at once: at an open gate all that a tenant has not left, and on the holder
    // of the turn what was cut for turns as well.
    uint32_t at_once() const {
        uint32_t always = 0, holder = 0;
        for (const VNpuView& vnpu : snapshot_.vnpus) {
            uint32_t any_time = 0, in_turn = 0;
            const auto may_launch = [&](const Grant& grant) {
                const bool gated = vnpu.granted.time_shared && grant.time_shared;
                (gated ? in_turn : any_time) = std::max(gated ? in_turn : any_time, grant.own.cube);
            };
            may_launch(vnpu.granted);
            for (const Grant& grant : vnpu.older) {
                if (vnpu.live_tenants > 0 && grant.number >= vnpu.applied) may_launch(grant);
            }
            always += any_time;
            holder = std::max(holder, std::max(in_turn, any_time) - any_time);
        }
        return always + holder;
    }

    bool woken_ = false;  // somebody whose cores may be lent; until everybody has acknowledged
};

TEST_P(RandomWalk, the_device_is_never_exceeded_and_what_is_desired_is_reached) {
    snapshot_.device.cube = 2 + below(64);
    snapshot_.device.vector = 2 * snapshot_.device.cube;
    snapshot_.vnpus.resize(1 + below(6));
    for (VNpuView& vnpu : snapshot_.vnpus) vnpu.priority = below(3);
    for (int i = 0; i < 400; ++i) {
        VNpuView& vnpu = snapshot_.vnpus[below(static_cast<uint32_t>(snapshot_.vnpus.size()))];
        switch (below(6)) {
            case 0:
                change_quota(vnpu);
                break;
            case 1:
                change_quotas();
                break;
            case 2:
            case 3:
                report(vnpu);
                break;
            case 4:
                vnpu.idle = !vnpu.idle;
                vnpu.launching = !vnpu.idle && below(2) == 0;
                woken_ = woken_ || !vnpu.idle;
                break;
            default:
                come_or_go(vnpu);
                break;
        }
        ASSERT_NO_FATAL_FAILURE(step());
    }
    for (int round = 0; round < 5; ++round) {
        acknowledge(snapshot_);
        ASSERT_NO_FATAL_FAILURE(step());
    }
    acknowledge(snapshot_);
    for (const VNpuView& vnpu : snapshot_.vnpus) {
        EXPECT_EQ(vnpu.granted.revision, vnpu.desired.revision);
        EXPECT_EQ(vnpu.granted.own, vnpu.desired.own);
        EXPECT_EQ(vnpu.granted.time_shared, vnpu.desired.time_shared);
        EXPECT_LE(vnpu.granted.all().cube, std::max(vnpu.desired.burst, vnpu.desired.own.cube));
    }
    EXPECT_LE(held(snapshot_), snapshot_.device.cube);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWalk, testing::Range(0u, 200u));

}  // namespace
}  // namespace flexnpu
