// SPDX-License-Identifier: Apache-2.0
// The promise of `applied` where it is made: without a device, at the speed of the processor.
#include "probe.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace flexnpu {
namespace {

// More than find a place in the order of their tilings.
constexpr uint64_t kMany = 1500;

uint64_t executor(uint64_t number) { return 0x10000 + number * 16; }

void tile(Probe& probe, uint64_t executor, uint64_t note = 0) {
    Tiling tiling = probe.enter();
    probe.tiled(tiling, executor, note);
    probe.leave(tiling);
}

bool launch(Probe& probe, uint64_t executor) {
    const Ticket ticket = probe.launching(executor);
    if (ticket) probe.launched(ticket);
    return static_cast<bool>(ticket);
}

// A change of quota under way on a thread of its own.
class Change {
  public:
    explicit Change(Probe& probe)
        : thread_([this, &probe] {
              given_up_ = probe.turn();
              over_ = true;
          }) {}
    bool is_over() const { return over_; }
    uint32_t given_up() {
        thread_.join();
        return given_up_;
    }

  private:
    std::atomic<bool> over_{false};
    uint32_t given_up_ = 0;
    std::thread thread_;
};

TEST(Probe, a_launch_finds_its_tiling_in_any_order_and_once) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < 100; ++i) tile(*probe, executor(i));
    for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(launch(*probe, executor(i * 37 % 100)));
    for (uint64_t i = 0; i < 100; ++i) EXPECT_FALSE(launch(*probe, executor(i)));
    EXPECT_EQ(probe->turn(), 0u);
}

TEST(Probe, an_executor_that_waits_twice_is_launched_twice) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < 2; ++i) tile(*probe, executor(1));
    EXPECT_TRUE(launch(*probe, executor(1)));
    EXPECT_TRUE(launch(*probe, executor(1)));
    EXPECT_FALSE(launch(*probe, executor(1)));
}

TEST(Probe, a_note_comes_back_with_the_launch_of_its_tiling) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < 10; ++i) tile(*probe, executor(i), 100 + i);
    for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(probe->launching(executor(9 - i)).note, 109 - i);
}

TEST(Probe, who_finds_no_place_is_waited_for_all_the_same) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < kMany; ++i) tile(*probe, executor(i));
    Change change(*probe);
    for (uint64_t i = 0; i < kMany; ++i) {
        ASSERT_FALSE(change.is_over()) << kMany - i << " were still to be launched";
        ASSERT_TRUE(launch(*probe, executor(i)));
    }
    EXPECT_EQ(change.given_up(), 0u);
}

TEST(Probe, an_executor_that_is_destroyed_is_waited_for_no_longer) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < kMany; ++i) tile(*probe, executor(i % 2));
    probe->destroyed(executor(0));
    probe->destroyed(executor(1));
    EXPECT_EQ(probe->turn(), 0u);
}

TEST(Probe, a_launch_that_comes_after_it_was_given_up_changes_nothing) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < kMany; ++i) tile(*probe, executor(i));
    EXPECT_EQ(probe->turn(), kMany);
    tile(*probe, executor(kMany));
    launch(*probe, executor(0));
    launch(*probe, executor(kMany - 1));
    Change change(*probe);
    EXPECT_FALSE(change.is_over());
    EXPECT_TRUE(launch(*probe, executor(kMany)));
    EXPECT_EQ(change.given_up(), 0u);
}

TEST(Probe, what_was_not_tiled_after_all_leaves_its_place_to_others) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < kMany; ++i) probe->leave(probe->enter());
    Tiling tiling = probe->enter();
    EXPECT_TRUE(probe->tiled(tiling, executor(1), 7));
    probe->leave(tiling);
    EXPECT_EQ(probe->launching(executor(1)).note, 7u);
}

TEST(Probe, operators_that_are_never_launched_leave_the_other_places_to_others) {
    const auto probe = std::make_unique<Probe>();
    for (uint64_t i = 0; i < 400; ++i) tile(*probe, executor(i));
    uint32_t noted = 0;
    for (uint64_t i = 1000; i < 2000; ++i) {
        Tiling tiling = probe->enter();
        noted += probe->tiled(tiling, executor(i), 1);
        probe->leave(tiling);
        EXPECT_TRUE(launch(*probe, executor(i)));
    }
    EXPECT_GT(noted, 900u) << "a hundred places are free, and the others were put aside under a lock";
}

TEST(Probe, an_executor_that_no_place_can_hold_is_put_aside) {
    const auto probe = std::make_unique<Probe>();
    Tiling tiling = probe->enter();
    EXPECT_FALSE(probe->tiled(tiling, uint64_t{1} << 60, 7));
    probe->leave(tiling);
    EXPECT_TRUE(launch(*probe, uint64_t{1} << 60));
    EXPECT_EQ(probe->turn(), 0u);
}

TEST(Probe, a_thread_that_tiles_on_two_devices_is_followed_on_each) {
    const auto one = std::make_unique<Probe>(), other = std::make_unique<Probe>();
    for (uint64_t i = 0; i < 100; ++i) {
        tile(i % 2 != 0 ? *one : *other, executor(i));
        if (i % 10 == 9) {
            EXPECT_TRUE(launch(*one, executor(i)));
        }
    }
    for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(launch(i % 2 != 0 ? *one : *other, executor(i)), i % 10 != 9);
    EXPECT_EQ(one->turn() + other->turn(), 0u);
}

TEST(Probe, an_operator_that_tiles_inside_of_another_is_followed_too) {
    const auto probe = std::make_unique<Probe>();
    Tiling outer = probe->enter(), inner = probe->enter();
    EXPECT_TRUE(probe->tiled(inner, executor(1), 1));
    probe->leave(inner);
    EXPECT_TRUE(probe->tiled(outer, executor(2), 2));
    probe->leave(outer);
    EXPECT_EQ(probe->launching(executor(2)).note, 2u);
    EXPECT_EQ(probe->launching(executor(1)).note, 1u);
}

TEST(Probe, who_tiles_is_waited_for_however_long_that_takes) {
    const auto probe = std::make_unique<Probe>();
    for (const uint64_t others : {uint64_t{0}, kMany}) {
        for (uint64_t i = 0; i < others; ++i) tile(*probe, executor(i));
        const Tiling tiling = probe->enter();
        EXPECT_EQ(tiling.place == 0, others != 0) << "with all places taken it is counted apart";
        Change change(*probe);
        for (uint64_t i = 0; i < others; ++i) ASSERT_TRUE(launch(*probe, executor(i)));
        std::this_thread::sleep_for(std::chrono::milliseconds(2300));
        EXPECT_FALSE(change.is_over());
        probe->leave(tiling);
        EXPECT_EQ(change.given_up(), 0u);
    }
}

// Two that tile, each with one that launches behind it, and changes all the while.
TEST(Probe, threads_that_tile_and_threads_that_launch_lose_none) {
    constexpr uint64_t kEach = 100'000;
    const auto probe = std::make_unique<Probe>();
    std::atomic<uint64_t> tiled[2]{}, launched[2]{};
    std::atomic<int> lost{0};
    std::vector<std::thread> threads;
    for (uint64_t pair = 0; pair < 2; ++pair) {
        const auto name = [pair](uint64_t i) { return executor(i % 7 * 2 + pair); };
        threads.emplace_back([&, pair, name] {
            for (uint64_t i = 0; i < kEach; ++i) {
                while (i - launched[pair] > 600) std::this_thread::yield();
                tile(*probe, name(i));
                tiled[pair] = i + 1;
            }
        });
        threads.emplace_back([&, pair, name] {
            for (uint64_t i = 0; i < kEach; launched[pair] = ++i) {
                while (tiled[pair] == i) std::this_thread::yield();
                if (!launch(*probe, name(i))) ++lost;
            }
        });
    }
    uint32_t given_up = 0;
    while (launched[0] < kEach || launched[1] < kEach) given_up += probe->turn();
    for (std::thread& each : threads) each.join();
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(given_up, 0u);
}

constinit Probe probe;

TEST(Probe, a_turn_waits_for_whoever_entered_while_the_one_before_was_over) {
    constexpr uint64_t kExecutor = 0x1000;
    constexpr int kTurns = 300'000;
    std::atomic<bool> stop = false;
    std::atomic<uint64_t> granted = 1, applied = 1;
    std::atomic<int> too_early = 0;
    std::thread program([&] {
        while (!stop) {
            Tiling tiling = probe.enter();
            const uint64_t under = granted;
            probe.tiled(tiling, kExecutor);
            probe.leave(tiling);
            for (int i = 0; i < 50; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
            if (applied > under) ++too_early;
            const Ticket launching = probe.launching(kExecutor);
            if (launching) probe.launched(launching);
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
