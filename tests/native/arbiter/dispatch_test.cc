// SPDX-License-Identifier: Apache-2.0
// Dispatch by phase: what vNPUs are given, step by step, and with the arbiter's own thread.
#include "arbiter/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "arbiter/arbiter.h"
#include "gate_player.h"
#include "waiting.h"

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMs = 1'000'000;

// vNPUs with a tenant each, whose report the test writes.
class DispatchTest : public testing::Test {
  protected:
    VNpu& add(uint32_t share, uint32_t phase = FLEXNPU_PHASE_IDLE) {
        VNpu& vnpu = vnpus_.emplace_back();
        vnpu.view.granted.time_shared = true;
        vnpu.quota = {.share = share, .phase = phase};
        vnpu.tenants[1].page = std::make_shared<ReportPage>(1);
        all_.push_back(&vnpu);
        return vnpu;
    }

    static flexnpu_report_page& report(VNpu& vnpu) {
        void* const at =
            mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vnpu.tenants[1].page->fd(), 0);
        return *static_cast<flexnpu_report_page*>(at);
    }

    // A window in which it had the device for half of the time that it wanted it.
    static void work(VNpu& vnpu, int64_t used_ns, int64_t waited_ns) {
        vnpu.turn.used_ns += static_cast<uint64_t>(used_ns);
        report(vnpu).devices[0].waited_ns += static_cast<uint64_t>(waited_ns);
    }

    void step() { dispatch_.step(all_, now_ns_ += 100 * kMs); }

    Dispatch dispatch_{DispatchMode::phase};
    std::list<VNpu> vnpus_;
    std::vector<VNpu*> all_;
    int64_t now_ns_ = 0;
};

TEST_F(DispatchTest, begins_with_the_shares_that_they_have_and_puts_decode_first) {
    const VNpu& prefill = add(6000, FLEXNPU_PHASE_PREFILL);
    const VNpu& decode = add(2000, FLEXNPU_PHASE_DECODE);
    const VNpu& other = add(2000);
    step();
    EXPECT_EQ(prefill.share, 6000u);
    EXPECT_EQ(decode.share, 2000u);
    EXPECT_GT(decode.priority, prefill.priority);
    EXPECT_GT(decode.priority, other.priority);
}

TEST_F(DispatchTest, moves_time_to_the_phase_that_waits_and_no_other_share) {
    VNpu& prefill = add(4000, FLEXNPU_PHASE_PREFILL);
    VNpu& large = add(3000, FLEXNPU_PHASE_DECODE);
    VNpu& small = add(1000, FLEXNPU_PHASE_DECODE);
    const VNpu& other = add(2000);
    step();
    for (int i = 0; i < 4; ++i) {
        work(prefill, 40 * kMs, 10 * kMs);
        work(large, 30 * kMs, 70 * kMs);
        work(small, 10 * kMs, 70 * kMs);
        step();
    }
    EXPECT_EQ(prefill.share, 2400u);  // four times a twentieth of the 8000 of both
    EXPECT_EQ(large.share, 4200u);
    EXPECT_EQ(small.share, 1400u);
    EXPECT_EQ(other.share, 2000u);
}

TEST_F(DispatchTest, decode_that_slows_down_with_its_turns_gets_no_more_of_them) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    step();
    for (const uint64_t steps : {10u, 5u, 5u}) {
        work(prefill, 40 * kMs, 10 * kMs);
        work(decode, 50 * kMs, 50 * kMs);
        report(decode).totals[1] += steps;
        step();
    }
    EXPECT_EQ(decode.share, 5500u);  // by the first window, which knew no better
}

TEST_F(DispatchTest, a_quota_that_changes_is_the_new_beginning) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    step();
    work(prefill, 40 * kMs, 10 * kMs);
    work(decode, 40 * kMs, 90 * kMs);
    step();
    EXPECT_EQ(decode.share, 5500u);
    decode.quota.share = 3000;
    step();
    EXPECT_EQ(decode.share, 3000u);
    EXPECT_EQ(prefill.share, 5000u);
}

TEST_F(DispatchTest, what_was_waited_for_under_other_shares_does_not_move_those_that_were_set) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    step();
    work(prefill, 10 * kMs, 10 * kMs);
    work(decode, 10 * kMs, 90 * kMs);
    prefill.quota.share = 7000;
    decode.quota.share = 3000;
    dispatch_.step(all_, now_ns_ += 60 * kMs);
    dispatch_.step(all_, now_ns_ += 60 * kMs);
    EXPECT_EQ(decode.share, 3000u);
    EXPECT_EQ(prefill.share, 7000u);
    work(prefill, 10 * kMs, 10 * kMs);
    work(decode, 10 * kMs, 90 * kMs);
    step();
    EXPECT_EQ(decode.share, 3500u) << "from there it goes on";
}

TEST_F(DispatchTest, who_leaves_the_shared_time_and_comes_back_begins_with_its_own_share) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    step();
    work(prefill, 10 * kMs, 10 * kMs);
    work(decode, 10 * kMs, 90 * kMs);
    step();
    ASSERT_EQ(decode.share, 5500u);
    for (VNpu* vnpu : all_) vnpu->quota.share = 0;
    step();
    for (VNpu* vnpu : all_) vnpu->quota.share = 5000;
    step();
    EXPECT_EQ(decode.share, 5000u);
}

TEST_F(DispatchTest, the_operators_tell_the_phase_and_what_was_declared_is_believed_instead) {
    VNpu& one = add(5000);
    VNpu& two = add(3000);
    VNpu& declared = add(2000, FLEXNPU_PHASE_PREFILL);
    step();
    for (VNpu* vnpu : all_) report(*vnpu).totals[1] += 20;
    report(two).totals[0] += 10;
    step();
    EXPECT_EQ(one.phase, uint32_t{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(two.phase, uint32_t{FLEXNPU_PHASE_IDLE});  // both, by turns
    EXPECT_EQ(declared.phase, uint32_t{FLEXNPU_PHASE_PREFILL});
    step();
    EXPECT_EQ(one.phase, uint32_t{FLEXNPU_PHASE_DECODE});  // no steps since
    report(one).totals[0] += 20;
    step();
    EXPECT_EQ(one.phase, uint32_t{FLEXNPU_PHASE_PREFILL});
}

TEST_F(DispatchTest, what_returning_tenants_counted_before_is_no_news) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    work(prefill, 40 * kMs, 0);
    work(decode, 40 * kMs, 1000 * kMs);
    step();
    step();
    EXPECT_EQ(decode.share, 5000u);
}

TEST_F(DispatchTest, a_fixed_share_stays_and_so_does_everything_without_both_phases) {
    VNpu& prefill = add(5000, FLEXNPU_PHASE_PREFILL);
    VNpu& decode = add(5000, FLEXNPU_PHASE_DECODE);
    decode.quota.fixed = true;
    step();
    work(prefill, 40 * kMs, 10 * kMs);
    work(decode, 40 * kMs, 90 * kMs);
    step();
    EXPECT_EQ(decode.share, 5000u);
    EXPECT_EQ(decode.priority, prefill.priority);
    decode.quota.fixed = false;
    decode.tenants.clear();
    step();
    EXPECT_EQ(decode.priority, prefill.priority);
}

// --- with the arbiter's thread ---

class Device {
  public:
    explicit Device(DispatchMode mode) : arbiter(24, 48, mode) {}

    GatePlayer& add(VNpuId id, uint32_t share, uint32_t phase) {
        const auto page = std::make_shared<ControlPage>("v" + std::to_string(id), std::vector<uint32_t>{0});
        arbiter.add(id, page, 0,
                    {.revision = 1, .cores = 24, .burst_cores = 24, .memory_bytes = 1, .share = share, .phase = phase});
        GatePlayer& player = players_.emplace_back(*page, std::make_shared<ReportPage>(0));
        arbiter.attach(id, player.page, 0, true);
        return player;
    }

    Arbiter arbiter;

  private:
    std::list<GatePlayer> players_;
};

bool take_turn(GatePlayer& player) {
    player.wait(1);
    player.ring();
    const bool entered = comes_true([&] { return player.enter(); });
    player.wait(0);
    return entered;
}

TEST(DispatchByPhase, decode_enters_before_prefill_has_drained) {
    Device device(DispatchMode::phase);
    GatePlayer& prefill = device.add(1, 5000, FLEXNPU_PHASE_PREFILL);
    GatePlayer& decode = device.add(2, 5000, FLEXNPU_PHASE_DECODE);
    ASSERT_TRUE(take_turn(prefill));
    EXPECT_EQ(prefill.in_flight_ns(), 100'000u);
    EXPECT_TRUE(take_turn(decode));
    prefill.drain();
    EXPECT_TRUE(device.arbiter.state(2).holds_turn);
}

void expect_no_preemption(DispatchMode mode, uint32_t first, uint32_t second) {
    Device device(mode);
    GatePlayer& one = device.add(1, 5000, first);
    GatePlayer& two = device.add(2, 5000, second);
    ASSERT_TRUE(take_turn(one));
    EXPECT_GT(one.in_flight_ns(), 1'000'000u);
    two.wait(1);
    two.ring();
    ASSERT_TRUE(comes_true([&] { return (one.turn() & FLEXNPU_TURN_OPEN) == 0; }));
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(two.enter());
    one.drain();
    EXPECT_TRUE(comes_true([&] { return two.enter(); }));
    EXPECT_EQ(device.arbiter.state(2).effective_share, 5000u);
}

TEST(DispatchByPhase, with_one_phase_alone_it_is_fair_and_so_it_is_where_that_was_asked_for) {
    expect_no_preemption(DispatchMode::phase, FLEXNPU_PHASE_IDLE, FLEXNPU_PHASE_DECODE);
    expect_no_preemption(DispatchMode::phase, FLEXNPU_PHASE_DECODE, FLEXNPU_PHASE_DECODE);
    expect_no_preemption(DispatchMode::fair, FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_DECODE);
}

// Operators that prefill still launches after a decode step has asked for the device: the median of many steps.
uint64_t operators_before_a_step(DispatchMode mode) {
    Device device(mode);
    GatePlayer& prefill = device.add(1, 5000, FLEXNPU_PHASE_PREFILL);
    GatePlayer& decode = device.add(2, 5000, FLEXNPU_PHASE_DECODE);
    prefill.start(200us);
    std::vector<uint64_t> between;
    for (int i = 0; i < 41; ++i) {
        std::this_thread::sleep_for(1ms);  // prefill is in the middle of a slice
        const uint64_t before = prefill.launches();
        EXPECT_TRUE(take_turn(decode));
        between.push_back(prefill.launches() - before);
        decode.drain();
    }
    prefill.stop();
    std::ranges::sort(between);
    return between[between.size() / 2];
}

TEST(DispatchByPhase, a_decode_step_does_not_wait_for_a_whole_burst_of_prefill) {
    const uint64_t by_phase = operators_before_a_step(DispatchMode::phase);
    EXPECT_LE(by_phase, 2u);
    EXPECT_LT(by_phase, operators_before_a_step(DispatchMode::fair));
}

TEST(DispatchByPhase, the_shares_move_to_the_one_that_waits_while_both_work) {
    Device device(DispatchMode::phase);
    GatePlayer& prefill = device.add(1, 5000, FLEXNPU_PHASE_PREFILL);
    GatePlayer& decode = device.add(2, 5000, FLEXNPU_PHASE_DECODE);
    prefill.start(300us);
    decode.start(300us);
    const auto share = [&] { return device.arbiter.state(2).effective_share; };
    EXPECT_EQ(device.arbiter.state(2).share, 5000u);
    EXPECT_TRUE(comes_true([&] { return decode.waited(10ms), share() >= 6000; }));
    EXPECT_TRUE(comes_true([&] { return prefill.waited(100ms), share() <= 5500; }));
    EXPECT_EQ(device.arbiter.state(1).effective_share + share(), 10'000u);
}

}  // namespace
}  // namespace flexnpu
