// SPDX-License-Identifier: Apache-2.0
// A prefill and a decode engine go from parted cores to time on all of them, and back, under load.
#include <gtest/gtest.h>

#include <random>

#include "core_device.h"

namespace flexnpu {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kHandOversNs =
    kMs / 2;  // the end of a turn and the beginning of the next, waking the processes included
constexpr VNpuId kPrefill = 1, kDecode = 2;

// Operators of 1.5 to 2 ms without end; steps of 10 operators, 2 to 4 ms, every 12 ms.
const EngineLoad prefill_load{.work_ns = 36 * kMs};
const EngineLoad decode_load{.work_ns = kMs, .fixed_ns = 200'000, .operators = 10, .period_ns = 12 * kMs};

Quota parted(uint32_t revision, uint32_t cores) {
    return {.revision = revision, .cores = cores, .burst_cores = cores, .memory_bytes = 1 << 20};
}

Quota by_time(uint32_t revision, uint32_t share, uint32_t priority = 0) {
    return {.revision = revision,
            .cores = 24,
            .burst_cores = 24,
            .memory_bytes = 1 << 20,
            .share = share,
            .priority = priority};
}

std::vector<Change> split(uint32_t revision) {
    return {{kPrefill, parted(revision, 18)}, {kDecode, parted(revision, 6)}};
}
std::vector<Change> shared(uint32_t revision) {
    return {{kPrefill, by_time(revision, 6000)}, {kDecode, by_time(revision, 4000, 1)}};
}

bool is_applied(const CoreDevice& device, uint32_t revision) {
    return device.state(kPrefill).applied_revision == revision && device.state(kDecode).applied_revision == revision;
}

// Until both have it; how long that took.
int64_t carry_out(CoreDevice& device, const std::vector<Change>& changes) {
    const int64_t from = device.now();
    device.change(changes);
    while (!is_applied(device, changes.front().quota.revision) && device.now() - from < 1000 * kMs) {
        device.run(device.now() + kMs / 20);
    }
    return device.now() - from;
}

class TransitionTest : public testing::Test {
  protected:
    void SetUp() override {
        device_.add(kPrefill, parted(1, 18), prefill_load);
        device_.add(kDecode, parted(1, 6), decode_load);
        device_.run(device_.now() + 100 * kMs);
    }
    // The longest pauses of both from now, over so long.
    std::pair<int64_t, int64_t> pauses(int64_t ns) {
        forget();
        device_.run(device_.now() + ns);
        return {device_.take_pause(kPrefill), device_.take_pause(kDecode)};
    }
    void forget() {
        device_.take_pause(kPrefill);
        device_.take_pause(kDecode);
    }

    CoreDevice device_;
};

TEST_F(TransitionTest, parted_cores_become_time_on_all_of_them) {
    EXPECT_LT(carry_out(device_, shared(2)), 30 * kMs);
    EXPECT_EQ(device_.state(kPrefill).granted_cores, 24u);
    EXPECT_EQ(device_.state(kDecode).granted_cores, 24u);
    EXPECT_EQ(device_.state(kDecode).share, 4000u);
    EXPECT_LE(device_.most_at_once(), 24u);
}

TEST_F(TransitionTest, and_time_on_all_of_them_becomes_parted_cores) {
    carry_out(device_, shared(2));
    device_.run(device_.now() + 100 * kMs);
    EXPECT_LT(carry_out(device_, split(3)), 30 * kMs);
    EXPECT_EQ(device_.state(kPrefill).granted_cores, 18u);
    EXPECT_EQ(device_.state(kDecode).granted_cores, 6u);
    EXPECT_EQ(device_.state(kDecode).share, 0u);
    EXPECT_LE(device_.most_at_once(), 24u);
}

TEST_F(TransitionTest, decode_waits_for_the_running_operator_and_prefill_for_the_running_step) {
    carry_out(device_, shared(2));
    const int64_t while_shared = pauses(500 * kMs).second;
    std::mt19937 random{7};
    std::pair<int64_t, int64_t> worst;
    forget();
    for (uint32_t revision = 3; revision < 203; ++revision) {
        device_.run(device_.now() + static_cast<int64_t>(random() % 20'000'000));
        ASSERT_LT(carry_out(device_, revision % 2 == 0 ? shared(revision) : split(revision)), 30 * kMs) << revision;
        device_.run(device_.now() + 5 * kMs);
        worst.first = std::max(worst.first, device_.take_pause(kPrefill));
        worst.second = std::max(worst.second, device_.take_pause(kDecode));
    }
    EXPECT_LE(worst.second, while_shared + device_.longest_operator(kPrefill));
    EXPECT_LE(worst.first, decode_load.operators * device_.longest_operator(kDecode) + kHandOversNs);
    EXPECT_LE(device_.most_at_once(), CoreDevice::kCores);
    EXPECT_EQ(device_.late_launches(), 0u);
}

TEST_F(TransitionTest, prefill_gets_all_of_the_time_that_decode_leaves_idle_without_any_move) {
    CoreDevice device;
    device.add(kPrefill, by_time(1, 1000), prefill_load);
    device.add(kDecode, by_time(1, 9000, 1), {.work_ns = kMs, .operators = 1, .period_ns = 1000 * kMs});
    device.run(device.now() + 100 * kMs);
    const int64_t before = device.busy(kPrefill);
    device.run(device.now() + 500 * kMs);
    EXPECT_GT(device.busy(kPrefill) - before, 495 * kMs);
}

// With 30 operators of prefill queued, 45 to 60 ms. An operator of decode takes as long on any cores.
TEST(Move, pauses_neither_engine_whatever_is_queued) {
    CoreDevice device;
    device.add(kPrefill, parted(1, 18), {.work_ns = 27 * kMs, .ahead = 30});
    device.add(kDecode, parted(1, 6), {.fixed_ns = kMs / 4, .operators = 40});
    device.run(device.now() + 100 * kMs);
    device.take_pause(kPrefill);
    device.take_pause(kDecode);
    std::mt19937 random{11};
    for (uint32_t revision = 2; revision < 102; ++revision) {
        const uint32_t cores = revision % 2 == 0 ? 12 : 18;
        EXPECT_LT(carry_out(device, {{kPrefill, parted(revision, cores)}, {kDecode, parted(revision, 24 - cores)}}),
                  80 * kMs);
        device.run(device.now() + static_cast<int64_t>(random() % 30'000'000));
    }
    EXPECT_LE(device.take_pause(kDecode), kMs / 20);
    EXPECT_LE(device.take_pause(kPrefill), kMs / 20);
}

TEST(Move, waits_for_what_takes_long_no_more_than_a_tenth_of_a_second) {
    CoreDevice device;
    device.add(kPrefill, parted(1, 18), {.work_ns = 18 * 900 * kMs, .period_ns = 2000 * kMs});
    device.add(kDecode, parted(1, 6), decode_load);
    device.run(device.now() + 100 * kMs);
    const int64_t took = carry_out(device, {{kPrefill, parted(2, 12)}, {kDecode, parted(2, 12)}});
    EXPECT_GT(took, 90 * kMs);
    EXPECT_LT(took, 130 * kMs);
}

// Any loads, with shares and priorities of any kind, moved at any moment, also before the last move is applied.
class RandomTransitions : public testing::TestWithParam<uint32_t> {
  protected:
    std::mt19937 random_{GetParam()};
    CoreDevice device_;

    uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

    // Not much ahead: its first turn ends when what it launched before is over.
    EngineLoad load() {
        return {.work_ns = (1 + below(40)) * kMs,
                .fixed_ns = 20'000 + below(300'000),
                .operators = 1 + below(20),
                .period_ns = below(2) * (5 + below(60)) * kMs,
                .ahead = 1 + below(4)};
    }

    // Parted in any way, shared by all or by two of the three.
    std::vector<Change> move(uint32_t revision) {
        const uint32_t first = 1 + below(22), second = 1 + below(23 - first);
        std::vector<Change> moves{
            {1, parted(revision, first)}, {2, parted(revision, second)}, {3, parted(revision, 24 - first - second)}};
        const uint32_t apart = below(5);  // who keeps cores of its own; 3: nobody does, 4: everybody
        if (apart == 4) return moves;
        const uint32_t own = apart == 3 ? 0 : moves[apart].quota.cores;
        for (uint32_t i = 0; i < 3; ++i) {
            if (i == apart) continue;
            moves[i].quota = by_time(revision, 1000 + below(2000), below(3));
            moves[i].quota.cores = moves[i].quota.burst_cores = 1 + below(24 - own);
        }
        return moves;
    }
};

TEST_P(RandomTransitions, never_exceed_the_device_and_are_applied_in_the_end) {
    for (VNpuId id = 1; id <= 3; ++id) device_.add(id, parted(1, 8), load());
    for (uint32_t revision = 2; revision < 40; ++revision) {
        device_.run(device_.now() + below(40'000'000));
        device_.change(move(revision));
    }
    const int64_t until = device_.now() + 5000 * kMs;
    const auto is_settled = [&] {
        for (VNpuId id = 1; id <= 3; ++id) {
            if (device_.state(id).applied_revision != 39) return false;
        }
        return true;
    };
    while (!is_settled() && device_.now() < until) device_.run(device_.now() + kMs);
    EXPECT_TRUE(is_settled());
    EXPECT_LE(device_.most_at_once(), CoreDevice::kCores);
    EXPECT_EQ(device_.late_launches(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTransitions, testing::Range(0u, 40u));

}  // namespace
}  // namespace flexnpu
