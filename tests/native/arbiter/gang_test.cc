// SPDX-License-Identifier: Apache-2.0
// A vNPU over two devices: its turns are the same moments on both.
#include "arbiter/gang.h"

#include <gtest/gtest.h>

#include <list>

#include "arbiter/arbiter.h"
#include "gate_player.h"
#include "waiting.h"

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

Quota share(uint32_t share) {
    return {.revision = 1, .cores = 24, .burst_cores = 24, .memory_bytes = 1 << 20, .share = share};
}

class GangTest : public testing::Test {
  protected:
    static constexpr VNpuId kWide = 1, kFirst = 2, kSecond = 3;

    void SetUp() override {
        for (uint32_t i = 0; i < 2; ++i) arbiters_[i].add(kWide, wide_, i, share(5000), gang_);
        for (uint32_t i = 0; i < 2; ++i) ranks_.emplace_back(*wide_, std::make_shared<ReportPage>(0), i);
        for (uint32_t i = 0; i < 2; ++i) arbiters_[i].attach(kWide, rank(i).page, 0, true);
    }
    GatePlayer& rank(uint32_t ordinal) { return *std::next(ranks_.begin(), ordinal); }

    // A vNPU on one of the devices alone.
    GatePlayer& neighbour(uint32_t device, VNpuId id) {
        auto page = std::make_shared<ControlPage>("n" + std::to_string(id), std::vector<uint32_t>{device});
        arbiters_[device].add(id, page, 0, share(5000));
        GatePlayer& player = neighbours_.emplace_back(*page, std::make_shared<ReportPage>(0));
        arbiters_[device].attach(id, player.page, 0, true);
        pages_.push_back(std::move(page));
        return player;
    }
    bool open(uint32_t ordinal) { return (rank(ordinal).turn() & FLEXNPU_TURN_OPEN) != 0; }
    void ask(GatePlayer& player, uint32_t threads) {
        player.wait(threads);
        player.ring();
    }

    Arbiter arbiters_[2] = {{24, 48}, {24, 48}};
    std::shared_ptr<Gang> gang_ = std::make_shared<Gang>(0);
    std::shared_ptr<ControlPage> wide_ = std::make_shared<ControlPage>("wide", std::vector<uint32_t>{0, 1});
    std::list<GatePlayer> ranks_, neighbours_;
    std::vector<std::shared_ptr<ControlPage>> pages_;
};

TEST_F(GangTest, a_rank_that_asks_gets_a_turn_for_all) {
    ask(rank(1), 1);
    EXPECT_TRUE(comes_true([&] { return open(0) && open(1); }));
}

TEST_F(GangTest, its_turn_comes_before_whoever_holds_one_on_a_device_that_follows) {
    GatePlayer& holder = neighbour(1, kSecond);
    ask(holder, 1);
    ASSERT_TRUE(comes_true([&] { return holder.enter(); }));
    holder.wait(0);
    ask(rank(0), 1);
    EXPECT_TRUE(comes_true([&] { return open(0) && open(1); }));
    EXPECT_EQ(holder.turn() & FLEXNPU_TURN_OPEN, 0u) << "closed, though not drained";
}

TEST_F(GangTest, a_device_that_follows_gives_it_no_turn_by_itself) {
    GatePlayer& holder = neighbour(0, kFirst);
    ask(holder, 1);
    ASSERT_TRUE(comes_true([&] { return holder.enter(); }));
    ask(rank(1), 1);
    std::this_thread::sleep_for(20ms);
    EXPECT_FALSE(open(1)) << "the leader's device is still the other's, who does not drain";
    holder.wait(0);
    holder.drain();
    EXPECT_TRUE(comes_true([&] { return open(0) && open(1); }));
}

TEST_F(GangTest, a_rank_that_gave_its_turn_up_comes_in_again_while_the_others_go_on) {
    ask(rank(0), 1);
    ask(rank(1), 1);
    ASSERT_TRUE(comes_true([&] { return rank(0).enter(); }));
    ASSERT_TRUE(comes_true([&] { return rank(1).enter(); }));
    rank(0).wait(0);
    rank(1).wait(0);
    rank(0).drain();
    ask(rank(0), 1);
    EXPECT_TRUE(comes_true([&] { return rank(0).enter(); })) << "rank 1 is in a turn, and meets it in a collective";
    rank(1).drain();
    ask(rank(1), 1);
    EXPECT_TRUE(comes_true([&] { return rank(1).enter(); }));
}

TEST_F(GangTest, where_the_leader_takes_no_turns_any_more_or_not_yet_each_device_gives_its_own) {
    Quota free = share(0);
    free.revision = 2;
    const Change leaves{kWide, free};
    arbiters_[0].change({&leaves, 1});
    ASSERT_EQ(rank(0).turn(), FLEXNPU_TURN_FREE);
    ask(rank(1), 1);
    EXPECT_TRUE(comes_true([&] { return rank(1).enter(); })) << "what it has tiled is launched, and acknowledged";
    rank(1).wait(0);
    Quota again = share(5000);
    again.revision = 3;
    const Change enters{kWide, again};
    arbiters_[0].change({&enters, 1});
    EXPECT_TRUE(comes_true([&] { return !open(1); })) << "the leader has none";
    rank(1).drain();
    ask(rank(0), 1);
    EXPECT_TRUE(comes_true([&] { return open(0) && open(1); }));
}

TEST_F(GangTest, turns_end_together_and_others_have_theirs) {
    GatePlayer& other = neighbour(0, kFirst);
    ask(rank(0), 1);
    ASSERT_TRUE(comes_true([&] { return rank(0).enter() && rank(1).enter(); }));
    rank(0).wait(0);
    ask(other, 1);
    ASSERT_TRUE(comes_true([&] { return !open(0) && !open(1); })) << "its slice is over";
    rank(0).drain();
    std::this_thread::sleep_for(5ms);
    EXPECT_EQ(other.turn() & FLEXNPU_TURN_OPEN, 0u) << "rank 1 has not drained";
    rank(1).drain();
    EXPECT_TRUE(comes_true([&] { return other.enter(); }));
}

TEST_F(GangTest, ranks_and_neighbours_share_two_devices_for_a_while) {
    GatePlayer& first = neighbour(0, kFirst);
    GatePlayer& second = neighbour(1, kSecond);
    for (GatePlayer* player : {&rank(0), &rank(1), &first, &second}) player->start(300us);
    std::this_thread::sleep_for(600ms);
    for (GatePlayer* player : {&rank(0), &rank(1), &first, &second}) {
        EXPECT_GT(player->busy_ns(), 50'000'000) << "nobody stands still";
        player->stop();
    }
}

TEST_F(GangTest, a_removed_one_leaves_the_devices_to_the_others) {
    ask(rank(0), 1);
    ASSERT_TRUE(comes_true([&] { return rank(0).enter() && rank(1).enter(); }));
    for (Arbiter& arbiter : arbiters_) {
        arbiter.remove(kWide);
        arbiter.detach(kWide, 1);
    }
    GatePlayer& second = neighbour(1, kSecond);
    ask(second, 1);
    EXPECT_TRUE(comes_true([&] { return second.enter(); }));
    EXPECT_FALSE(gang_->is_open());
}

}  // namespace
}  // namespace flexnpu
