// SPDX-License-Identifier: Apache-2.0
// Who may open its turn itself, and what the arbiter makes of it: step by step at given times, and with its thread.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "arbiter/arbiter.h"
#include "flexnpu/hail.h"
#include "gate_player.h"
#include "serial_device.h"
#include "waiting.h"

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

Quota share(uint32_t share, uint32_t priority = 0, uint32_t phase = 0) {
    return {.revision = 1,
            .cores = 24,
            .burst_cores = 24,
            .memory_bytes = 1,
            .share = share,
            .priority = priority,
            .phase = phase};
}

// Steps when it is told to: until then no arbiter runs.
class HailTest : public testing::Test {
  protected:
    GatePlayer& add(VNpuId id, const Quota& quota, uint32_t devices = 1) {
        VNpu vnpu;
        vnpu.page = pages_[id] = std::make_shared<ControlPage>("v" + std::to_string(id), std::vector(devices, 0u));
        vnpu.quota = quota;
        if (devices > 1) vnpu.gang = std::make_shared<Gang>(0);
        arbitration_->restore(id, std::move(vnpu), {}, 0, now_);
        return join(id);
    }
    GatePlayer& join(VNpuId id) {
        GatePlayer& player = players_.emplace_back(*pages_.at(id), std::make_shared<ReportPage>(0), 0, hails_.get());
        last_ = arbitration_->attach(id, player.page, 0, true);
        step();
        return player;
    }
    void step(int64_t after_ns = 10'000) {
        now_ += after_ns;
        look_ns_ = arbitration_->step(now_).look_again_ns;
    }
    // In a turn, by the arbiter's leave.
    void take_turn(GatePlayer& player) {
        player.wait(1);
        step();
        ASSERT_TRUE(player.enter());
        player.wait(0);
        step();
    }
    // As the gate does it.
    static bool come(GatePlayer& player) {
        if (!player.is_on_standby()) return false;
        player.hail();
        return player.enter();
    }

    const std::shared_ptr<HailPage> hails_ = std::make_shared<HailPage>();
    std::unique_ptr<Arbitration> arbitration_ =
        std::make_unique<Arbitration>(Cores{24, 48}, DispatchMode::fair, 0, hails_);
    std::map<VNpuId, std::shared_ptr<ControlPage>> pages_;
    std::list<GatePlayer> players_;
    int64_t now_ = kSecond, look_ns_ = 0;
    TenantId last_ = 0;
};

TEST_F(HailTest, who_goes_first_stops_the_other_and_is_inside_before_the_arbiter_runs) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    EXPECT_FALSE(low.yields());
    ASSERT_TRUE(come(high));
    EXPECT_TRUE(low.yields());
    EXPECT_FALSE(high.yields());
    EXPECT_TRUE(low.is_open()) << "the arbiter has not run";
    const uint64_t number = flexnpu_turn_number(high.turn());
    step();
    EXPECT_FALSE(low.is_open());
    EXPECT_TRUE(high.is_open());
    EXPECT_EQ(flexnpu_turn_number(high.turn()), number) << "it is the turn that was entered";
    EXPECT_NE(high.turn() & FLEXNPU_TURN_BEHIND, 0u);
    EXPECT_EQ(arbitration_->state(2).turns, 1u);
}

TEST_F(HailTest, what_it_has_is_charged_from_when_the_other_is_over) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    ASSERT_TRUE(come(high));
    step(kMs);
    low.drain();
    step(2 * kMs);
    EXPECT_EQ(arbitration_->state(2).used_ns, 0u);
    EXPECT_GE(arbitration_->state(1).used_ns, 2u * kMs);
    high.drain();
    step(3 * kMs);
    EXPECT_NEAR(static_cast<double>(arbitration_->state(2).used_ns), 3e6, 1e5);
}

TEST_F(HailTest, a_turn_that_is_not_used_costs_nothing_and_keeps_nobody_out) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    for (int i = 0; i < 100; ++i) {
        take_turn(low);
        step(kMs);
        EXPECT_TRUE(high.is_on_standby());
        low.drain();
        step();
    }
    EXPECT_EQ(arbitration_->state(2).turns, 0u);
    EXPECT_EQ(arbitration_->state(2).used_ns, 0u);
    EXPECT_FALSE(arbitration_->state(2).demand);
    EXPECT_GT(arbitration_->state(1).used_ns, 95u * kMs);
}

TEST_F(HailTest, after_each_turn_another_hail_is_told) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    std::set<uint64_t> hails, numbers;
    for (int i = 0; i < 10; ++i) {
        take_turn(low);
        ASSERT_TRUE(come(high));
        hails.insert(high.hailed());
        numbers.insert(flexnpu_turn_number(high.turn()));
        step();
        low.drain();
        high.drain();
        step(kMs);
        EXPECT_FALSE(low.yields()) << "the one that all know by now";
    }
    EXPECT_EQ(hails.size(), 10u);
    EXPECT_EQ(numbers.size(), 10u);
}

TEST_F(HailTest, without_priority_or_without_a_page_nobody_is_on_standby) {
    EXPECT_FALSE(add(1, share(5000)).is_on_standby());
    arbitration_ = std::make_unique<Arbitration>(Cores{24, 48}, DispatchMode::fair, 0);
    add(2, share(5000));
    EXPECT_FALSE(add(3, share(5000, 1)).is_on_standby());
}

TEST_F(HailTest, who_has_used_up_its_priority_is_not_on_standby_until_it_has_earned_it_again) {
    GatePlayer& low = add(1, share(8000));
    GatePlayer& high = add(2, share(2000, 1));
    take_turn(low);
    ASSERT_TRUE(come(high));
    step();
    low.drain();
    low.wait(1);
    step();
    EXPECT_TRUE(high.is_open());
    step(100 * kMs);  // far more than it had saved
    EXPECT_FALSE(high.is_open());
    high.drain();
    step();
    ASSERT_TRUE(low.enter());
    low.wait(0);
    step();
    EXPECT_FALSE(high.is_on_standby());
    int64_t later = 0;
    while (!high.is_on_standby() && later < kSecond) {
        ASSERT_GT(look_ns_, 0) << "the arbiter looks by itself";
        later += look_ns_;
        step(look_ns_);
    }
    EXPECT_TRUE(high.is_on_standby());
    EXPECT_GT(later, 4 * kMs);
}

TEST_F(HailTest, the_highest_is_on_standby_and_another_one_while_that_one_has_its_turn_only_if_it_outranks_it) {
    GatePlayer& low = add(1, share(4000));
    GatePlayer& middle = add(2, share(3000, 1));
    GatePlayer& high = add(3, share(3000, 2));
    take_turn(low);
    EXPECT_TRUE(high.is_on_standby());
    EXPECT_FALSE(middle.is_on_standby());
    ASSERT_TRUE(come(high));
    step();
    EXPECT_FALSE(middle.is_on_standby());
    low.drain();
    step();
    high.drain();
    step();
    take_turn(middle);
    EXPECT_TRUE(high.is_on_standby());
    ASSERT_TRUE(come(high));
    EXPECT_TRUE(middle.yields());
    EXPECT_TRUE(low.yields());
    step();
    EXPECT_TRUE(high.is_open());
    EXPECT_FALSE(middle.is_open());
}

TEST_F(HailTest, two_equals_that_take_turns_are_on_standby_in_turns) {
    GatePlayer& low = add(1, share(4000));
    GatePlayer* equals[] = {&add(2, share(3000, 1)), &add(3, share(3000, 1))};
    int in_time = 0;
    for (int i = 0; i < 20; ++i) {
        take_turn(low);
        GatePlayer& next = *equals[i % 2];
        in_time += next.is_on_standby();
        if (!come(next)) take_turn(next);
        step();
        low.drain();
        next.drain();
        step(kMs);
    }
    EXPECT_GE(in_time, 18);
}

TEST_F(HailTest, who_is_dismissed_just_when_it_comes_has_its_turn_and_no_two_are_open) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    ASSERT_TRUE(come(high));
    Quota lower = share(5000);
    lower.revision = 2;
    const Change change{2, lower};
    arbitration_->change({&change, 1}, now_);
    step();
    EXPECT_FALSE(low.is_open() && high.is_open());
    EXPECT_EQ(arbitration_->state(2).turns, 1u) << "it is charged as any other";
}

TEST_F(HailTest, who_may_hail_no_more_is_not_heard) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    ASSERT_TRUE(high.is_on_standby());
    Quota lower = share(5000);
    lower.revision = 2;
    const Change change{2, lower};
    arbitration_->change({&change, 1}, now_);
    step();
    EXPECT_FALSE(high.is_on_standby());
    EXPECT_FALSE(high.enter());
    high.hail();
    EXPECT_FALSE(low.yields());
    step();
    EXPECT_TRUE(low.is_open());
}

TEST_F(HailTest, who_hails_and_does_not_come_has_the_turn_and_is_charged_for_it) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    high.hail();
    step();
    EXPECT_FALSE(low.is_open());
    low.drain();
    low.wait(1);
    for (int i = 0; i < 1000 && !low.is_open(); ++i) step(100'000);
    EXPECT_TRUE(low.is_open()) << "the share ends it";
    EXPECT_GT(arbitration_->state(2).used_ns, 1u * kMs);
}

TEST_F(HailTest, who_hails_and_dies_is_passed_over) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    const TenantId dead = last_;
    take_turn(low);
    high.hail();
    arbitration_->note_death(dead);
    step();
    low.drain();
    low.wait(1);
    step();
    step();
    EXPECT_TRUE(low.is_open());
}

TEST_F(HailTest, noise_on_the_page_changes_nothing) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    take_turn(low);
    std::mt19937_64 random{1};
    for (int i = 0; i < 1000; ++i) {
        low.hail_with(random());
        EXPECT_FALSE(low.yields());
        step(1000);
        ASSERT_TRUE(low.is_open());
        ASSERT_TRUE(high.is_on_standby());
    }
}

TEST_F(HailTest, a_hail_that_crosses_with_the_grant_of_the_turn_opens_the_same_one) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    GatePlayer& second = join(2);
    take_turn(low);
    ASSERT_TRUE(high.is_on_standby());
    const uint64_t number = flexnpu_turn_number(high.turn());
    high.wait(1);  // as one that came when it was not on standby yet
    step();
    EXPECT_TRUE(high.is_open());
    EXPECT_EQ(flexnpu_turn_number(high.turn()), number);
    second.hail();
    EXPECT_TRUE(second.enter());
    EXPECT_TRUE(high.enter());
    step();
    EXPECT_EQ(arbitration_->state(2).turns, 1u);
}

TEST_F(HailTest, those_on_several_devices_neither_hail_nor_yield) {
    GatePlayer& gang = add(1, share(5000, 1), 2);
    GatePlayer& low = add(2, share(3000));
    EXPECT_FALSE(gang.is_on_standby());
    GatePlayer& high = add(3, share(2000, 2));
    take_turn(low);
    ASSERT_TRUE(come(high));
    EXPECT_TRUE(low.yields());
    EXPECT_FALSE(gang.yields());
}

TEST_F(HailTest, decode_is_on_standby_beside_prefill_where_the_device_is_dispatched_by_phase) {
    arbitration_ = std::make_unique<Arbitration>(Cores{24, 48}, DispatchMode::phase, 0, hails_);
    GatePlayer& prefill = add(1, share(5000, 0, FLEXNPU_PHASE_PREFILL));
    GatePlayer& decode = add(2, share(5000, 0, FLEXNPU_PHASE_DECODE));
    take_turn(prefill);
    EXPECT_TRUE(come(decode));
    step();
    EXPECT_TRUE(decode.is_open());
}

TEST_F(HailTest, who_lies_about_having_entered_pays_for_it_and_does_not_keep_the_others_out) {
    GatePlayer& low = add(1, share(5000));
    GatePlayer& liar = add(2, share(5000, 1));
    std::atomic_ref(liar.report().turn_entered).store(~uint64_t{0});
    low.wait(1);
    int open = 0;
    for (int i = 0; i < 40'000; ++i) {
        step(100'000);
        open += low.is_open();
    }
    EXPECT_GT(open, 1000);
    EXPECT_GT(arbitration_->state(2).used_ns, 100u * kMs);
}

// --- with the arbiter's thread ---

TEST(HailedArbiter, learns_of_a_hail_from_who_is_stopped_by_it) {
    const auto hails = std::make_shared<HailPage>();
    Arbiter arbiter{24, 48, DispatchMode::fair, hails};
    std::list<GatePlayer> players;
    const auto add = [&](VNpuId id, const Quota& quota) -> GatePlayer& {
        const auto page = std::make_shared<ControlPage>("v" + std::to_string(id), std::vector<uint32_t>{0});
        arbiter.add(id, page, 0, quota);
        GatePlayer& player = players.emplace_back(*page, std::make_shared<ReportPage>(0), 0, hails.get());
        arbiter.attach(id, player.page, 0, true);
        return player;
    };
    GatePlayer& low = add(1, share(5000));
    GatePlayer& high = add(2, share(5000, 1));
    low.wait(1);
    low.ring();
    ASSERT_TRUE(comes_true([&] { return low.enter(); }));
    low.wait(0);
    ASSERT_TRUE(comes_true([&] { return high.is_on_standby(); }));
    high.hail();  // and does not ring
    ASSERT_TRUE(low.yields());
    low.wait(1);
    low.ring();
    EXPECT_TRUE(comes_true([&] { return !low.is_open() && high.is_open(); }));
}

TEST(HailedArbiter, sleeps_while_somebody_is_on_standby) {
    const auto hails = std::make_shared<HailPage>();
    Arbiter arbiter{24, 48, DispatchMode::fair, hails};
    const auto page = std::make_shared<ControlPage>("v", std::vector<uint32_t>{0});
    arbiter.add(1, page, 0, share(5000, 1));
    GatePlayer player(*page, std::make_shared<ReportPage>(0), 0, hails.get());
    arbiter.attach(1, player.page, 0, true);
    ASSERT_TRUE(comes_true([&] { return player.is_on_standby(); }));
    std::this_thread::sleep_for(50ms);
    EXPECT_LT(naps(300ms), 5);
}

}  // namespace
}  // namespace flexnpu
