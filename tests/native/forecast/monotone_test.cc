// SPDX-License-Identifier: Apache-2.0
// More work never takes less time, nor the same work on fewer cores, whichever way it is asked for.
#include <gtest/gtest.h>

#include "drawn_device.h"

namespace flexnpu {
namespace {

using Seconds = std::vector<double>;

void never_less(const Seconds& before, const Seconds& after, const char* asked) {
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) {
        EXPECT_GE(after[i], before[i] * (1 - kRounded)) << asked << ", place " << i;
    }
}

void finite(const Seconds& seconds, const char* asked) {
    for (const double each : seconds) {
        EXPECT_GE(each, 0) << asked;
        EXPECT_LT(each, std::numeric_limits<double>::infinity()) << asked;
    }
}

// Each way to ask, where there are cores.
struct Answers {
    Seconds alone, prefill, decode, beside, steps;

    Answers(const DrawnDevice& device, const Load& load, const Load& other)
        : alone(device.alone(load)),
          prefill(device.split(load, other, device.cores).first),
          decode(device.split(other, load, device.cores).second),
          steps(device.steps(device.cores, load, 20)) {
        alone.erase(alone.begin());
        prefill.pop_back();
        decode.erase(decode.begin());
        for (uint32_t cores = 1; cores < device.cores; ++cores) {
            beside.push_back(device.iteration.beside(cores, load, device.cores - cores, other).first);
            beside.push_back(device.iteration.beside(device.cores - cores, other, cores, load).second);
        }
    }
};

void check_growth(const DrawnDevice& device, const std::vector<Request>& less, const std::vector<Request>& more,
                  const Load& other) {
    const Answers before(device, device.load(less), other), after(device, device.load(more), other);
    never_less(before.alone, after.alone, "alone");
    never_less(before.prefill, after.prefill, "prefill of a split");
    never_less(before.decode, after.decode, "decode of a split");
    never_less(before.beside, after.beside, "beside");
    // A prompt does not grow, so what has become one is compared as it is now.
    const size_t steps =
        device.load(less).decode_sequences > device.load(more).decode_sequences ? 1 : before.steps.size();
    never_less({before.steps.begin(), before.steps.begin() + steps}, {after.steps.begin(), after.steps.begin() + steps},
               "steps");
}

TEST(Monotone, more_keys_tokens_or_requests_never_take_less_time) {
    for_seeds(1500, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const std::vector<Request> rest = drawn_batch(draw);
        const Load other = device.load(drawn_batch(draw));
        std::vector<Request> less = rest, more = rest;
        Request one = draw.once_in(2) ? drawn_running(draw) : drawn_prompt(draw);
        one.copies = 1;
        const double by = draw.once_in(2) ? 1.0 : drawn_size(draw, 1, 4000);
        const int64_t what = draw.whole(0, 2);
        if (what < 2) less.push_back(one);
        (what == 1 && one.fresh > 1 ? one.fresh : one.cached) += what < 2 ? by : 0.0;
        more.push_back(one);
        check_growth(device, less, more, other);
    });
}

// A running request that asks for a second token is a prompt from then on. It is no reader any more, so this holds for
// tables that go by tokens and logits.
TEST(Monotone, a_second_token_never_takes_less_time) {
    for_seeds(1500, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, {Asks::tokens, Asks::logits});
        std::vector<Request> less = drawn_batch(draw), more = less;
        const Load other = device.load(drawn_batch(draw));
        less.push_back({1, drawn_size(draw, 0, 30'000), 1});
        more.push_back({draw.once_in(2) ? 2 : drawn_size(draw, 2, 4000), less.back().cached, 1});
        check_growth(device, less, more, other);
    });
}

// Attention by itself, whatever device and heads: not for how sizes go together, but by its equations.
TEST(Monotone, attention_of_any_sizes_never_takes_less_time_for_more_work_or_fewer_cores) {
    for_seeds(5000, [](Draw& draw) {
        const auto cores = static_cast<uint32_t>(draw.whole(2, 8));
        PlainAttention attention(any_constants(draw, cores));
        const auto window = draw.once_in(3) ? std::optional<double>(draw.whole(2, 5000)) : std::nullopt;
        std::vector<Request> requests = drawn_batch(draw);
        Request one = draw.once_in(2) ? drawn_running(draw) : drawn_prompt(draw);
        one.copies = 1;
        const auto row = [&](const std::vector<Request>& others) {
            Load load;
            for (const Request& each : others) add(load, each, window);
            Row found = attention.by_cores(load);
            found.alone.erase(found.alone.begin()), found.held.erase(found.held.begin());
            return found;
        };
        const Row without = row(requests);
        requests.push_back(one);
        const Row with = row(requests);
        Request& last = requests.back();
        (draw.once_in(2) ? last.fresh : last.cached) += draw.once_in(2) ? 1.0 : drawn_size(draw, 1, 4000);
        const Row more = row(requests);
        for (const auto& [before, after] : {std::pair{without, with}, std::pair{with, more}}) {
            never_less(before.alone, after.alone, "alone");
            never_less(before.held, after.held, "beside a neighbour");
            never_less({before.traffic}, {after.traffic}, "traffic");
        }
        never_less(more.alone, more.held, "a neighbour");
        for (const Seconds& each : {more.alone, more.held}) {
            never_less({each.begin() + 1, each.end()}, {each.begin(), each.end() - 1}, "cores");
        }
    });
}

TEST(Monotone, fewer_cores_never_take_less_time) {
    for_seeds(500, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        const Load load = device.load(drawn_batch(draw)), other = device.load(drawn_batch(draw));
        Answers found(device, load, other);
        // From many cores to few.
        std::reverse(found.alone.begin(), found.alone.end());
        std::reverse(found.decode.begin(), found.decode.end());
        for (const Seconds& each : {found.alone, found.prefill, found.decode}) {
            never_less({each.begin(), each.end() - 1}, {each.begin() + 1, each.end()}, "cores");
        }
        for (uint32_t cores = 2; cores <= device.cores; ++cores) {
            never_less(device.steps(cores, load, 10), device.steps(cores - 1, load, 10), "steps");
        }
        never_less({found.steps.begin(), found.steps.end() - 1}, {found.steps.begin() + 1, found.steps.end()},
                   "a step later");
    });
}

TEST(Monotone, every_answer_is_finite_and_none_negative) {
    for_seeds(500, [](Draw& draw) {
        const DrawnDevice device = drawn_device(draw, kEveryTable);
        std::vector<Request> requests = drawn_batch(draw);
        if (draw.once_in(5)) requests.push_back({1e6, 1e7, 1000});
        const Answers found(device, device.load(requests), device.load(drawn_batch(draw)));
        finite(found.alone, "alone");
        finite(found.prefill, "prefill of a split");
        finite(found.decode, "decode of a split");
        finite(found.beside, "beside");
        finite(found.steps, "steps");
    });
}

}  // namespace
}  // namespace flexnpu
