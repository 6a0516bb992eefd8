// SPDX-License-Identifier: Apache-2.0
// Turns and loans with the arbiter's own thread; tenants play the gate's protocol.
#include "arbiter/turns.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <list>

#include "arbiter/arbiter.h"
#include "arbiter/process.h"
#include "gate_player.h"
#include "waiting.h"

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

// A process that does nothing, to be stopped and killed.
class Sleeper {
  public:
    Sleeper() : pid_(fork()) {
        if (pid_ != 0) return;
        for (;;) pause();
    }
    ~Sleeper() {
        signal(SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    void signal(int number) const { kill(pid_, number); }
    uint32_t pid() const { return static_cast<uint32_t>(pid_); }

  private:
    pid_t pid_;
};

class TurnsTest : public testing::Test {
  protected:
    Arbiter arbiter_{24, 48};
    std::list<GatePlayer> players_;
    std::map<VNpuId, std::shared_ptr<ControlPage>> pages_;

    static Quota share(uint32_t revision, uint32_t share, uint32_t priority = 0) {
        return {.revision = revision,
                .cores = 24,
                .burst_cores = 24,
                .memory_bytes = 1 << 20,
                .share = share,
                .priority = priority};
    }

    GatePlayer& add(VNpuId id, const Quota& quota, uint32_t pid = 0) {
        pages_[id] = std::make_shared<ControlPage>("v" + std::to_string(id), std::vector<uint32_t>{0});
        arbiter_.add(id, pages_[id], 0, quota);
        return join(id, pid);
    }

    GatePlayer& join(VNpuId id, uint32_t pid = 0) {
        GatePlayer& player = players_.emplace_back(*pages_.at(id), std::make_shared<ReportPage>(pid));
        last_ = arbiter_.attach(id, player.page, pid, true);
        return player;
    }

    // Asks for a turn by hand and enters it.
    static bool take_turn(GatePlayer& player) {
        player.wait(1);
        player.ring();
        const bool entered = comes_true([&] { return player.enter(); });
        player.wait(0);
        return entered;
    }

    // As its tenants map it.
    const flexnpu_control_page* control(VNpuId id) const {
        return static_cast<const flexnpu_control_page*>(
            mmap(nullptr, FLEXNPU_PAGE_SIZE, PROT_READ, MAP_SHARED, pages_.at(id)->fd(), 0));
    }

    static uint64_t in_flight(const flexnpu_control_page* page) {
        return std::atomic_ref(const_cast<uint64_t&>(page->devices[0].in_flight_ns)).load();
    }

    TenantId last_ = 0;
};

TEST_F(TurnsTest, a_vnpu_with_the_device_to_itself_is_never_closed) {
    GatePlayer& player = add(1, {.revision = 1, .cores = 12, .burst_cores = 12});
    EXPECT_EQ(player.turn(), FLEXNPU_TURN_FREE);
    EXPECT_EQ(arbiter_.state(1).share, 0u);
}

TEST_F(TurnsTest, who_shares_in_time_is_let_in_when_it_rings) {
    GatePlayer& player = add(1, share(1, 5000));
    EXPECT_EQ(player.turn() & FLEXNPU_TURN_OPEN, 0u);
    EXPECT_TRUE(take_turn(player));
    EXPECT_TRUE(arbiter_.state(1).holds_turn);
    EXPECT_EQ(player.turn() & FLEXNPU_TURN_CONTENDED, 0u);
}

TEST_F(TurnsTest, one_turn_is_open_at_a_time_and_the_device_is_shared_by_quota) {
    GatePlayer& small = add(1, share(1, 2500));
    GatePlayer& large = add(2, share(1, 7500));
    std::atomic<bool> both = false, stop = false;
    std::thread watch([&] {
        while (!stop) {
            const bool one = small.inside();
            if (one && large.inside() && small.inside()) both = true;
            std::this_thread::yield();
        }
    });
    small.start(300us);
    large.start(300us);
    std::this_thread::sleep_for(1s);
    stop = true;
    watch.join();
    small.stop();
    large.stop();
    EXPECT_FALSE(both);
    const auto all = static_cast<double>(small.busy_ns() + large.busy_ns());
    EXPECT_NEAR(static_cast<double>(small.busy_ns()) / all, 0.25, 0.1);
    EXPECT_GT(arbiter_.state(1).turns, 10u);
    EXPECT_GT(arbiter_.state(1).used_ns, 0u);
}

TEST_F(TurnsTest, the_next_turn_waits_until_the_last_one_has_drained) {
    GatePlayer& one = add(1, share(1, 5000));
    GatePlayer& two = add(2, share(1, 5000));
    ASSERT_TRUE(take_turn(one));
    two.wait(1);
    two.ring();
    ASSERT_TRUE(comes_true([&] { return (one.turn() & FLEXNPU_TURN_OPEN) == 0; }));
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(two.enter());
    one.drain();
    EXPECT_TRUE(comes_true([&] { return two.enter(); }));
}

TEST_F(TurnsTest, a_tenant_that_leaves_its_turn_early_lets_the_other_in) {
    GatePlayer& one = add(1, share(1, 9900));
    GatePlayer& two = add(2, share(1, 100));
    ASSERT_TRUE(take_turn(one));
    one.drain();
    two.wait(1);
    two.ring();
    EXPECT_TRUE(comes_true([&] { return two.enter(); }));
    EXPECT_FALSE(arbiter_.state(1).demand);
}

TEST_F(TurnsTest, a_higher_priority_enters_before_the_lower_has_drained) {
    GatePlayer& low = add(1, share(1, 5000));
    GatePlayer& high = add(2, share(1, 5000, 1));
    ASSERT_TRUE(take_turn(low));
    EXPECT_TRUE(take_turn(high));
    EXPECT_EQ(low.turn() & FLEXNPU_TURN_OPEN, 0u);
    low.drain();
    EXPECT_TRUE(arbiter_.state(2).holds_turn);
}

TEST_F(TurnsTest, who_comes_after_another_has_its_turn_although_that_one_takes_none_any_more_or_is_gone) {
    for (const bool removed : {false, true}) {
        const VNpuId first = removed ? 4 : 1;
        GatePlayer& low = add(first, share(1, 4000));
        const TenantId tenant = last_;
        GatePlayer& high = add(first + 1, share(1, 2000, 1));
        GatePlayer& other = add(first + 2, share(1, 4000));
        ASSERT_TRUE(take_turn(low));
        ASSERT_TRUE(take_turn(high));
        EXPECT_NE(high.turn() & FLEXNPU_TURN_BEHIND, 0u);
        other.wait(1);
        other.ring();
        if (removed) {
            arbiter_.remove(first);
            arbiter_.detach(first, tenant);
        } else {
            Quota own = share(2, 0);
            own.cores = own.burst_cores = 1;
            const Change change{first, own};
            arbiter_.change({&change, 1});
        }
        EXPECT_TRUE(comes_true([&] { return (high.turn() & FLEXNPU_TURN_BEHIND) == 0; })) << removed;
        EXPECT_TRUE(comes_true([&] { return (high.turn() & FLEXNPU_TURN_OPEN) == 0; }))
            << "its slice ends, " << removed;
        high.drain();
        EXPECT_TRUE(comes_true([&] { return other.enter(); })) << removed;
        other.wait(0);
        other.drain();
    }
}

TEST_F(TurnsTest, the_turn_of_one_that_went_is_over_although_its_vnpu_has_another_process) {
    GatePlayer& one = add(1, share(1, 5000));
    const TenantId went = last_;
    join(1);
    ASSERT_TRUE(take_turn(one));
    arbiter_.detach(1, went);
    EXPECT_TRUE(comes_true([&] { return !arbiter_.state(1).holds_turn; }));
}

TEST_F(TurnsTest, the_death_of_the_holder_lets_the_next_one_in) {
    GatePlayer& one = add(1, share(1, 5000));
    const TenantId dead = last_;
    GatePlayer& two = add(2, share(1, 5000));
    ASSERT_TRUE(take_turn(one));
    two.wait(1);
    two.ring();
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(two.enter());
    arbiter_.detach(1, dead);
    EXPECT_TRUE(comes_true([&] { return two.enter(); }));
}

TEST_F(TurnsTest, a_stopped_holder_is_passed_over_and_enters_a_later_turn_when_it_continues) {
    Sleeper process;
    GatePlayer& one = add(1, share(1, 5000), process.pid());
    GatePlayer& two = add(2, share(1, 5000));
    ASSERT_TRUE(take_turn(one));
    process.signal(SIGSTOP);
    ASSERT_TRUE(comes_true([&] { return process_state(process.pid()) == ProcessState::stopped; }));
    EXPECT_TRUE(take_turn(two));
    two.drain();
    process.signal(SIGCONT);
    one.drain();
    EXPECT_TRUE(take_turn(one));
}

TEST_F(TurnsTest, a_stopped_process_that_waits_is_not_waited_for) {
    Sleeper process;
    GatePlayer& one = add(1, share(1, 5000), process.pid());
    GatePlayer& two = add(2, share(1, 5000));
    process.signal(SIGSTOP);
    ASSERT_TRUE(comes_true([&] { return process_state(process.pid()) == ProcessState::stopped; }));
    one.wait(1);
    one.ring();
    for (int round = 0; round < 5; ++round) {
        ASSERT_TRUE(take_turn(two));
        two.drain();
    }
    process.signal(SIGCONT);
    EXPECT_TRUE(comes_true([&] { return one.enter(); }));
}

TEST_F(TurnsTest, a_stopped_process_that_waits_is_passed_over_though_its_turns_are_short) {
    Sleeper process;
    GatePlayer& one = add(1, share(1, 200), process.pid());
    GatePlayer& two = add(2, share(1, 9800));
    process.signal(SIGSTOP);
    ASSERT_TRUE(comes_true([&] { return process_state(process.pid()) == ProcessState::stopped; }));
    two.start(200us);
    one.wait(1);
    one.ring();
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(1).turns > 0; }));
    std::this_thread::sleep_for(300ms);  // its share is a turn in 15 ms
    EXPECT_LE(arbiter_.state(1).turns, 2u);
}

TEST_F(TurnsTest, a_zombie_is_passed_over_before_the_daemon_says_so) {
    Sleeper process;
    GatePlayer& one = add(1, share(1, 5000), process.pid());
    GatePlayer& two = add(2, share(1, 5000));
    ASSERT_TRUE(take_turn(one));
    process.signal(SIGKILL);
    ASSERT_TRUE(comes_true([&] { return process_state(process.pid()) == ProcessState::gone; }));
    EXPECT_TRUE(take_turn(two));
}

// A look would find it at work still: it launched since the look before.
TEST_F(TurnsTest, a_killed_holder_that_launched_just_now_is_passed_over_by_its_death_alone) {
    Sleeper process;
    GatePlayer& one = add(1, share(1, 5000), process.pid());
    GatePlayer& two = add(2, share(1, 5000));
    ASSERT_TRUE(take_turn(one));
    std::atomic<bool> stop = false;
    std::thread launching([&] {
        while (!stop) one.launch();
    });
    process.signal(SIGKILL);
    EXPECT_TRUE(take_turn(two));
    stop = true;
    launching.join();
}

TEST(Deaths, are_told_once_each_and_not_of_who_was_forgotten) {
    std::array<Sleeper, 2> processes;
    std::atomic<int> told = 0;
    std::atomic<uint64_t> who = 0;
    Deaths deaths([&](uint64_t id) {
        who = id;
        ++told;
    });
    deaths.watch(7, processes[0].pid());
    deaths.watch(8, processes[1].pid());
    deaths.forget(7);
    processes[0].signal(SIGKILL);
    ASSERT_TRUE(comes_true([&] { return process_state(processes[0].pid()) == ProcessState::gone; }));
    processes[1].signal(SIGKILL);
    EXPECT_TRUE(comes_true([&] { return told == 1; }));
    EXPECT_EQ(who, 8u);
    deaths.stop();
    EXPECT_EQ(told, 1);
}

TEST_F(TurnsTest, a_liar_does_not_keep_the_others_out) {
    GatePlayer& liar = add(1, share(1, 5000));
    GatePlayer& honest = add(2, share(1, 5000));
    std::atomic_ref(liar.report().turn_entered).store(~uint64_t{0});
    std::atomic_ref(liar.report().turn_drained).store(~uint64_t{0} - 1);
    std::atomic_ref(liar.report().launches[0]).store(~uint64_t{0});
    std::atomic_ref(liar.report().busy_ns).store(~uint64_t{0});
    liar.wait(~0u);
    liar.ring();
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(take_turn(honest));
        honest.drain();
    }
}

TEST_F(TurnsTest, a_tenant_that_floods_its_bell_does_not_starve_the_others) {
    GatePlayer& noisy = add(1, share(1, 5000));
    GatePlayer& one = add(2, share(1, 2500));
    GatePlayer& two = add(3, share(1, 2500));
    std::atomic<bool> stop = false;
    std::thread flood([&] {
        for (uint32_t i = 0; !stop; ++i) {
            if (i % 2 == 0) noisy.ring();
            futex_wake_shared(&noisy.report().bell);
        }
    });
    one.start(200us);
    two.start(200us);
    EXPECT_TRUE(comes_true([&] { return arbiter_.state(2).turns > 20 && arbiter_.state(3).turns > 20; }));
    stop = true;
    flood.join();
}

TEST_F(TurnsTest, what_is_in_flight_is_bounded_more_tightly_beside_a_higher_priority) {
    add(1, share(1, 5000));
    const auto bound = [page = control(1)] { return in_flight(page); };
    EXPECT_EQ(bound(), 2'000'000u);
    add(2, share(1, 5000, 1));
    EXPECT_EQ(bound(), 100'000u);
}

TEST_F(TurnsTest, more_is_in_flight_to_catch_up_on_a_long_operator) {
    GatePlayer& one = add(1, share(1, 5000));
    GatePlayer& two = add(2, share(1, 5000));
    const auto bound = [page = control(2)] { return in_flight(page); };
    EXPECT_EQ(bound(), 1'250'000u);
    ASSERT_TRUE(take_turn(one));
    two.wait(1);
    two.ring();
    ASSERT_TRUE(comes_true([&] { return !one.is_open(); }));
    std::this_thread::sleep_for(20ms);
    one.drain();
    one.ring();
    one.wait(1);  // it wants more, too
    one.ring();
    ASSERT_TRUE(comes_true([&] { return two.enter(); }));
    EXPECT_TRUE(comes_true([&] { return bound() > 2'000'000u; }));
    EXPECT_LE(bound(), 5'000'000u);
}

TEST_F(TurnsTest, a_change_of_memory_does_not_wait_for_cores) {
    add(1, {.revision = 1, .cores = 12, .burst_cores = 12, .memory_bytes = 100});
    add(2, {.revision = 1, .cores = 12, .burst_cores = 12, .memory_bytes = 100});
    const Change changes[] = {{1, {.revision = 2, .cores = 6, .burst_cores = 6, .memory_bytes = 100}},
                              {2, {.revision = 2, .cores = 18, .burst_cores = 18, .memory_bytes = 200}}};
    arbiter_.change(changes);
    EXPECT_EQ(arbiter_.state(2).granted_cores, 12u);
    EXPECT_EQ(control(2)->devices[0].memory_bytes, 200u);
}

TEST_F(TurnsTest, leaving_the_shared_time_opens_the_gate_for_good) {
    GatePlayer& player = add(1, share(1, 5000));
    const Change free[] = {{1, {.revision = 2, .cores = 24, .burst_cores = 24}}};
    arbiter_.change(free);
    EXPECT_EQ(player.turn(), FLEXNPU_TURN_FREE);
    const Change shared[] = {{1, share(3, 2500)}};
    arbiter_.change(shared);
    EXPECT_EQ(player.turn() & FLEXNPU_TURN_OPEN, 0u);
    EXPECT_EQ(arbiter_.state(1).share, 2500u);
}

TEST_F(TurnsTest, what_it_was_charged_and_how_often_it_came_stays_told_when_it_leaves_and_comes_back) {
    GatePlayer& player = add(1, share(1, 5000));
    player.start(300us);
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(1).turns > 0; }));
    std::this_thread::sleep_for(20ms);
    player.stop();
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(1).used_ns > 0; }));
    const VNpuState before = arbiter_.state(1);
    const Change free[] = {{1, {.revision = 2, .cores = 24, .burst_cores = 24}}};
    arbiter_.change(free);
    EXPECT_EQ(arbiter_.state(1).used_ns, before.used_ns);
    const Change shared[] = {{1, share(3, 2500)}};
    arbiter_.change(shared);
    EXPECT_EQ(arbiter_.state(1).used_ns, before.used_ns);
    EXPECT_EQ(arbiter_.state(1).turns, before.turns);
}

// --- loans ---

class LoansTest : public TurnsTest {
  protected:
    static Quota burst(uint32_t cores, uint32_t most) { return {.revision = 1, .cores = cores, .burst_cores = most}; }

    // Launches and applies until stopped, as a busy tenant does.
    void keep_busy(GatePlayer& player, VNpuId id) {
        threads_.emplace_back([&, id] {
            while (!stop_) {
                player.launch();
                std::atomic_ref(player.report().applied_grant).store(arbiter_.state(id).grant_number);
                std::this_thread::sleep_for(1ms);
            }
        });
    }
    ~LoansTest() override {
        stop_ = true;
        for (std::thread& thread : threads_) thread.join();
    }

    std::atomic<bool> stop_ = false;
    std::vector<std::thread> threads_;
};

TEST_F(LoansTest, idle_cores_go_to_the_busy_one_and_come_back_when_their_owner_launches) {
    GatePlayer& lender = add(1, burst(12, 12));
    GatePlayer& borrower = add(2, burst(12, 24));
    keep_busy(borrower, 2);
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(2).granted_cores == 24; }));
    EXPECT_EQ(arbiter_.state(2).lent_cores, 12u);
    EXPECT_EQ(arbiter_.state(2).granted_revision, 1u);
    EXPECT_EQ(arbiter_.state(1).granted_cores, 12u);
    EXPECT_NE(lender.turn() & FLEXNPU_TURN_RING, 0u);
    EXPECT_NE(lender.turn() & FLEXNPU_TURN_OPEN, 0u);
    lender.ring();
    EXPECT_TRUE(comes_true([&] { return arbiter_.state(2).granted_cores == 12; }));
    EXPECT_EQ(lender.turn(), FLEXNPU_TURN_FREE);
}

TEST_F(LoansTest, who_slept_while_it_took_turns_lends_nothing_once_its_gate_stands_open_before_it_is_asked_to_ring) {
    GatePlayer& sleeper = add(1, share(1, 5000));
    std::atomic_ref(sleeper.report().applied_grant).store(1000);  // whatever comes
    GatePlayer& borrower = add(2, {.revision = 1, .cores = 1, .burst_cores = 24, .share = 5000});
    keep_busy(borrower, 2);
    borrower.wait(1);
    borrower.ring();
    std::this_thread::sleep_for(100ms);
    Quota own = share(2, 0);
    own.cores = own.burst_cores = 12;
    const Change apart[] = {{1, own}};
    arbiter_.change(apart);
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(1).applied_revision == 2; }));
    ASSERT_TRUE(comes_true([&] { return arbiter_.state(2).granted_cores > 12; })) << "idle, it lends them";
    EXPECT_NE(sleeper.turn() & FLEXNPU_TURN_RING, 0u);
}

TEST_F(LoansTest, nothing_is_lent_while_its_owner_launches) {
    GatePlayer& owner = add(1, burst(12, 12));
    GatePlayer& borrower = add(2, burst(12, 24));
    keep_busy(owner, 1);
    keep_busy(borrower, 2);
    std::this_thread::sleep_for(60ms);
    EXPECT_EQ(arbiter_.state(1).granted_cores, 12u);
}

TEST_F(LoansTest, when_nobody_launches_the_thread_sleeps) {
    add(1, burst(12, 24));
    add(2, burst(12, 24));
    std::this_thread::sleep_for(100ms);
    EXPECT_LT(naps(300ms), 5);
}

}  // namespace
}  // namespace flexnpu
