// SPDX-License-Identifier: Apache-2.0
// The decision alone: cases a person can follow, and a random walk over every kind of change.
#include "arbiter/decide.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace flexnpu {
namespace {

VNpuView settled(uint32_t cores, uint32_t live = 1, uint32_t revision = 1) {
    return {.desired = {revision, cores},
            .granted = {revision, cores},
            .older = {},
            .live_tenants = live,
            .applied_revision = revision};
}

VNpuView wanting(VNpuView vnpu, uint32_t cores) {
    vnpu.desired = {vnpu.granted.revision + 1, cores};
    return vnpu;
}

void take(Snapshot& snapshot, const Plan& plan) {
    for (const Plan::Step& step : plan.steps) {
        VNpuView& vnpu = snapshot.vnpus[step.vnpu];
        vnpu.older.push_back(vnpu.granted);
        vnpu.granted = step.grant;
    }
}

uint64_t held(const Snapshot& snapshot) {
    uint64_t sum = 0;
    for (const VNpuView& vnpu : snapshot.vnpus) sum += held_cores(vnpu);
    return sum;
}

TEST(Decide, a_settled_device_needs_nothing_and_no_second_look) {
    const Plan plan = decide({24, {settled(12), settled(12)}}, 0);
    EXPECT_TRUE(plan.steps.empty());
    EXPECT_EQ(plan.look_again_ns, 0);
}

TEST(Decide, a_growth_waits_until_the_shrink_is_applied) {
    Snapshot snapshot{24, {wanting(settled(12), 18), wanting(settled(12), 6)}};
    const Plan shrink = decide(snapshot, 0);
    ASSERT_EQ(shrink.steps, (std::vector<Plan::Step>{{1, {2, 6}}}));
    EXPECT_GT(shrink.look_again_ns, 0);
    take(snapshot, shrink);
    EXPECT_TRUE(decide(snapshot, 0).steps.empty());

    snapshot.vnpus[1].applied_revision = 2;
    const Plan growth = decide(snapshot, 0);
    EXPECT_EQ(growth.steps, (std::vector<Plan::Step>{{0, {2, 18}}}));
}

TEST(Decide, without_a_live_tenant_a_move_takes_one_step) {
    const Plan plan = decide({24, {wanting(settled(12, 0), 18), wanting(settled(12, 0), 6)}}, 0);
    EXPECT_EQ(plan.steps.size(), 2u);
    EXPECT_EQ(plan.look_again_ns, 0);
}

TEST(Decide, taking_back_a_shrink_that_was_not_applied_needs_no_room) {
    Snapshot snapshot{24, {wanting(settled(18), 6), settled(6)}};
    take(snapshot, decide(snapshot, 0));
    snapshot.vnpus[0].desired = {3, 18};
    EXPECT_EQ(decide(snapshot, 0).steps, (std::vector<Plan::Step>{{0, {3, 18}}}));
}

TEST(Decide, every_unapplied_older_grant_counts_not_only_the_last) {
    VNpuView vnpu = settled(20);
    vnpu.older = {{1, 20}, {2, 10}};
    vnpu.granted = vnpu.desired = {3, 4};
    vnpu.applied_revision = 1;
    EXPECT_EQ(held_cores(vnpu), 20u);
    vnpu.applied_revision = 2;
    EXPECT_EQ(held_cores(vnpu), 10u);
    vnpu.live_tenants = 0;
    EXPECT_EQ(held_cores(vnpu), 4u);
}

TEST(Decide, a_tenant_that_does_not_apply_is_looked_at_less_and_less_often) {
    VNpuView vnpu = settled(12);
    vnpu.granted = vnpu.desired = {2, 6};
    const int64_t soon = decide({24, {vnpu}}, 1'000'000).look_again_ns;
    const int64_t late = decide({24, {vnpu}}, 60'000'000'000).look_again_ns;
    EXPECT_LE(soon, 200'000);
    EXPECT_GT(late, soon);
}

// A random device life: quotas change (the desired sum always fits, as admission sees to), tenants come, go, and
// apply late or never in between. At the end everybody acknowledges.
class RandomWalk : public testing::TestWithParam<uint32_t> {
  protected:
    std::mt19937 random_{GetParam()};
    Snapshot snapshot_;

    uint32_t below(uint32_t limit) { return std::uniform_int_distribution<uint32_t>(0, limit - 1)(random_); }

    void change_quota(VNpuView& vnpu) {
        uint32_t others = 0;
        for (const VNpuView& other : snapshot_.vnpus) others += &other == &vnpu ? 0 : other.desired.cores;
        if (others >= snapshot_.device_cores) return;
        vnpu.desired = {vnpu.desired.revision + 1, 1 + below(snapshot_.device_cores - others)};
    }

    void report(VNpuView& vnpu) {
        const uint32_t behind = vnpu.granted.revision - std::min(vnpu.applied_revision, vnpu.granted.revision);
        vnpu.applied_revision += below(behind + 1);
    }

    void come_or_go(VNpuView& vnpu) {
        if (vnpu.live_tenants == 0) {
            vnpu.live_tenants = 1;
            vnpu.older.clear();
            vnpu.applied_revision = vnpu.granted.revision;
        } else {
            vnpu.live_tenants = 0;
        }
    }

    void step() {
        take(snapshot_, decide(snapshot_, 0));
        ASSERT_LE(held(snapshot_), snapshot_.device_cores);
    }
};

TEST_P(RandomWalk, the_device_is_never_exceeded_and_what_is_desired_is_reached) {
    snapshot_.device_cores = 2 + below(64);
    snapshot_.vnpus.resize(1 + below(6));
    for (int i = 0; i < 400; ++i) {
        VNpuView& vnpu = snapshot_.vnpus[below(static_cast<uint32_t>(snapshot_.vnpus.size()))];
        switch (below(3)) {
            case 0:
                change_quota(vnpu);
                break;
            case 1:
                report(vnpu);
                break;
            default:
                come_or_go(vnpu);
                break;
        }
        ASSERT_NO_FATAL_FAILURE(step());
    }
    for (int round = 0; round < 3; ++round) {
        for (VNpuView& vnpu : snapshot_.vnpus) vnpu.applied_revision = vnpu.granted.revision;
        ASSERT_NO_FATAL_FAILURE(step());
    }
    for (const VNpuView& vnpu : snapshot_.vnpus) EXPECT_EQ(vnpu.granted, vnpu.desired);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWalk, testing::Range(0u, 200u));

}  // namespace
}  // namespace flexnpu
