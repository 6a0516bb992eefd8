// SPDX-License-Identifier: Apache-2.0
// One device under random arrivals and plans. The cases that are followed by hand, and what is compared with plain
// loops, are in tests/unit/simulator; these are for sanitizers to see.
#include "simulator/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "simulator/view.h"

namespace flexnpu::simulator {
namespace {

// Every term is linear, cores divide it, a neighbour slows it by a fifth.
class PlainTimes final : public Times {
  public:
    double seconds(uint32_t cores, const Load& load) override {
        const double work = 5e-5 * load.prefill_tokens + 1e-8 * load.prefill_pairs + 1e-4 * load.decode_sequences +
                            1e-6 * load.decode_seen;
        return 2e-3 + work * 8.0 / cores;
    }
    std::pair<double, double> beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                     const Load& decode) override {
        return {1.2 * seconds(prefill_cores, prefill), 1.2 * seconds(decode_cores, decode)};
    }
    void steps(uint32_t cores, const Load& load, std::span<double> seconds) override {
        Load grown = load;
        for (double& each : seconds) {
            each = this->seconds(cores, grown);
            grown.decode_seen += grown.decode_sequences;
        }
    }
};

// Another way to run each time, and now and then the queue turned round.
class RestlessPolicy final : public Policy {
  public:
    explicit RestlessPolicy(uint32_t seed) : random_(seed) {}
    Answer plan(const Device& device, double now, const std::optional<Feedback>&) override {
        const auto shown = static_cast<std::size_t>(shown_prompts(device));
        std::vector<double> fresh(shown), cached(shown), waits(shown);
        show_prompts(device, now, fresh, cached, waits);
        for (std::size_t i = 0; i < shown; ++i) {
            EXPECT_GT(fresh[i], 0.0);
            EXPECT_GE(waits[i], 0.0);
        }
        Answer answer;
        answer.plan = {static_cast<Mode>(draw(3)), {}, 1 + draw(32), draw(4), 0.1 * static_cast<double>(1 + draw(9))};
        const auto decode = static_cast<uint32_t>(1 + draw(7));
        answer.plan.split = answer.plan.mode == Mode::split ? Split{8 - decode, decode} : Split{8, 8};
        if (draw(3) == 0) {
            answer.order.emplace();
            for (std::size_t i = shown; i-- > 0;) answer.order->push_back(static_cast<uint32_t>(i));
        }
        return answer;
    }

  private:
    int64_t draw(int64_t below) { return std::uniform_int_distribution<int64_t>(0, below - 1)(random_); }

    std::mt19937 random_;
};

Settings settings(int64_t blocks) {
    return {.cores = 8,
            .ttft = 0.1,
            .itl = 0.01,
            .token_budget = 32,
            .max_running = 8,
            .max_decoding = {},
            .joins_per_step = 2,
            .blocks = blocks,
            .block_tokens = 4,
            .hash_tokens = 16,
            .prefix_caching = true,
            .launch_seconds = 5e-4,
            .dispatch_seconds = 1e-3,
            .graph_seconds = 1e-4,
            .switch_seconds = 2e-3,
            .graphs = {2, 4, 8},
            .look_ahead = 6,
            .feedback_seconds = 0.05,
            .feedback_part = 0.9};
}

std::vector<RequestPtr> arrivals(std::mt19937& random, int64_t count) {
    std::vector<RequestPtr> found;
    double now = 0.0;
    for (int64_t index = 0; index < count; ++index) {
        now += std::exponential_distribution<double>(100.0)(random);
        const auto draw = [&](int64_t most) { return std::uniform_int_distribution<int64_t>(1, most)(random); };
        const int64_t prompt = draw(90), output = draw(40), talk = draw(3);
        std::vector<int64_t> blocks;
        for (int64_t place = 0; place < prompt / 16; ++place) blocks.push_back(100 * talk + place);
        found.push_back(std::make_shared<Request>(index, now, prompt, output, std::move(blocks)));
    }
    return found;
}

class RandomDevice : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomDevice, FinishesEveryRequestAndGivesEveryBlockBack) {
    std::mt19937 random(GetParam());
    PlainTimes times;
    RestlessPolicy policy(GetParam());
    const std::optional<Looks> looks =
        GetParam() % 2 == 0 ? std::nullopt : std::optional(static_cast<Looks>(GetParam() / 2 % 8));
    Device device(settings(33 + 8 * (GetParam() % 5)), times, policy, looks, std::make_shared<Answers>());
    const std::vector<RequestPtr> trace = arrivals(random, 60);
    std::size_t next = 0, finished = 0;
    while (next < trace.size() || device.next_seconds() < kInfinite) {
        if (next < trace.size() && trace[next]->arrival <= device.next_seconds()) {
            device.put(trace[next], trace[next]->arrival);
            ++next;
            continue;
        }
        device.turn(device.next_seconds());
        ASSERT_GE(device.kv.free(), 0);
        ASSERT_LE(device.running(), 8);
        for (const RequestPtr& request : device.take_finished()) {
            ++finished;
            EXPECT_EQ(request->generated, request->output);
            EXPECT_EQ(request->gaps.size(), static_cast<std::size_t>(request->output - 1));
            EXPECT_LT(request->arrival, request->first_token);
            EXPECT_LE(request->first_token, request->last_token);
            EXPECT_LE(request->slowest().p99, request->slowest().longest);
        }
    }
    EXPECT_EQ(finished, trace.size()) << "seed " << GetParam();
    EXPECT_EQ(device.kv.used(), 0);
    EXPECT_EQ(device.running(), 0);
    EXPECT_TRUE(device.prompts.empty());
    EXPECT_EQ(device.prompts.tokens(), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomDevice, testing::Range(1U, 61U));

TEST(SimulatedDevice, TellsWhoIsStillThereWithTheTokensThatItHas) {
    PlainTimes times;
    RestlessPolicy policy(1);
    Device device(settings(1000), times, policy, {}, std::make_shared<Answers>());
    device.put(std::make_shared<Request>(0, 0.0, 20, 3000, std::vector<int64_t>{}), 0.0);
    constexpr double kLater = 0.3;
    while (device.next_seconds() < kLater) device.turn(device.next_seconds());
    device.put(std::make_shared<Request>(1, kLater, 20, 2, std::vector<int64_t>{}), kLater);
    device.turn(device.next_seconds());
    std::vector<RequestPtr> left = device.all_requests();
    ASSERT_EQ(left.size(), 2U);
    std::sort(left.begin(), left.end(), [](const auto& one, const auto& two) { return one->index < two->index; });
    EXPECT_GT(left[0]->generated, 50);
    EXPECT_EQ(left[0]->gaps.size(), static_cast<std::size_t>(left[0]->generated - 1));
    EXPECT_EQ(left[1]->generated, 0);
}

}  // namespace
}  // namespace flexnpu::simulator
