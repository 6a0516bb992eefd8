// SPDX-License-Identifier: Apache-2.0
// Attention from sums: the equations of docs/forecast.md on cases that can be added up by hand, and the quick ways
// against one another.
#include "forecast/attention.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "drawn_device.h"

namespace flexnpu {
namespace {

constexpr double kNever = 1e300;  // a rate at which a thing takes no time

Load load_of(const std::vector<Request>& requests) {
    Load load;
    for (const Request& each : requests) add(load, each, {});
    return load;
}

void expect_near(double one, double two) { EXPECT_NEAR(one, two, kRounded * two); }

// On two cores: a pair takes an operation and a key a byte, of prompts and of running requests.
PlainConstants simple() {
    return {.rates = {0, 60, 100},
            .bandwidth = {0, 8, 10},
            .left = 5,
            .pace = 1,
            .queries = 4,
            .heads = 1,
            .key = 1,
            .bend = 0,
            .fixed = 0.5,
            .block = 0.25,
            .context = {1, 2, 1},
            .generation = {1, 3, 1}};
}

TEST(PlainAttention, of_running_requests_follows_the_equation) {
    PlainAttention attention(simple());
    const Load load = load_of({{1, 99, 2}, {1, 19, 1}});
    // 220 keys are 220 operations and, with three queries, 229 bytes.
    expect_near(attention.seconds(load, 2), std::hypot(220.0 / 100 + 0.25, 229.0 / 10) + 0.5);
    const Single one = attention.single(load, 1);
    expect_near(one.alone, std::hypot(220.0 / 60 + 0.25, 229.0 / 8) + 0.5);
    expect_near(one.held, std::hypot(220.0 / 60 + 0.25, 229.0 / 5) + 0.5);
    expect_near(one.traffic, 229.0 / 10);
    EXPECT_EQ(one.links, 0);
}

TEST(PlainAttention, of_one_prompt_follows_the_equation) {
    PlainAttention attention(simple());
    // 8 queries after 4 keys: 68 pairs and 2 in vain for each query, in 2 blocks; 12 keys and 8 queries of 2 bytes.
    const double spread = (68.0 + 16.0) / 100 + 2 * 0.25 / 2, longest = std::sqrt(2.0 * 68.0) / 50 + 0.25;
    const double compute = std::pow(std::pow(spread, 4) + std::pow(longest, 4), 0.25);
    const Load load = load_of({{8, 4, 1}});
    ASSERT_LT(std::sqrt(2.0 * 68.0), 12.0);
    expect_near(attention.seconds(load, 2), std::hypot(compute, 28.0 / 10) + 0.5);
    expect_near(attention.single(load, 2).held, std::hypot(compute, 28.0 / 5) + 0.5);
    expect_near(attention.single(load, 2).traffic, 28.0 / 10);
}

TEST(PlainAttention, of_a_prompt_with_nothing_cached_has_no_block_longer_than_the_prompt) {
    PlainAttention attention(simple());
    const double spread = (36.0 + 16.0) / 100 + 2 * 0.25 / 2, longest = 8.0 / 50 + 0.25;
    const double compute = std::pow(std::pow(spread, 4) + std::pow(longest, 4), 0.25);
    ASSERT_GT(std::sqrt(2.0 * 36.0), 8.0);
    expect_near(attention.seconds(load_of({{8, 0, 1}}), 2), std::hypot(compute, 24.0 / 10) + 0.5);
}

TEST(PlainAttention, of_a_prompt_computes_no_less_than_running_requests_do) {
    PlainConstants slow = simple();
    slow.generation.pair = 100;
    // 12 keys of 100 operations, rather than 84 operations.
    const double spread = 1200.0 / 100 + 2 * 0.25 / 2, longest = std::sqrt(2.0 * 68.0) / 50 + 0.25;
    const double compute = std::pow(std::pow(spread, 4) + std::pow(longest, 4), 0.25);
    expect_near(PlainAttention(slow).seconds(load_of({{8, 4, 1}}), 2), std::hypot(compute, 28.0 / 10) + 0.5);
}

TEST(PlainAttention, of_further_prompts_reads_behind_nothing_what_one_prompt_would_not_have) {
    PlainAttention attention(simple());
    // Two prompts of 8 after 4 are charged as one of 16 with 136 pairs, which has 16 keys; 8 are beyond those, and the
    // second prompt is a running request that reads no key.
    const double spread = (136.0 + 32.0) / 100 + 4 * 0.25 / 2, longest = std::sqrt(2.0 * 136.0) / 50 + 0.25;
    const double compute = std::pow(std::pow(spread, 4) + std::pow(longest, 4), 0.25);
    const double beyond = 8 * std::hypot(1.0 / 100, 1.0 / 10), second = std::hypot(0.25, 3.0 / 10) + 0.5;
    expect_near(attention.seconds(load_of({{8, 4, 2}}), 2), std::hypot(compute, 48.0 / 10) + 0.5 + beyond + second);
}

TEST(PlainAttention, answers_alike_however_it_is_asked) {
    for_seeds(300, [](Draw& draw) {
        const auto cores = static_cast<uint32_t>(draw.whole(1, 12));
        PlainAttention attention(drawn_constants(draw, cores));
        const Load load = load_of(drawn_batch(draw));
        const Row row = attention.by_cores(load);
        ASSERT_EQ(row.alone.size(), cores + 1);
        for (uint32_t on = 1; on <= cores; ++on) {
            const Single one = attention.single(load, on);
            EXPECT_EQ(attention.seconds(load, on), one.alone);
            expect_near(row.alone[on], one.alone);
            expect_near(row.held[on], one.held);
            expect_near(row.traffic, one.traffic);
            EXPECT_LE(one.alone, one.held);
            std::vector<double> seen(3, load.decode_seen);
            attention.steps(load, on, seen);
            for (const double each : seen) expect_near(each, one.alone);
        }
    });
}

TEST(PlainAttention, of_nothing_takes_no_time) {
    PlainAttention attention(simple());
    EXPECT_EQ(attention.seconds({}, 1), 0);
    EXPECT_EQ(attention.by_cores({}).alone, std::vector<double>(3));
    std::vector<double> seen(2);
    attention.steps({}, 1, seen);
    EXPECT_EQ(seen, std::vector<double>(2));
}

// What is computed and what is read overlap as the sides of a right angle; `computing` says which is the longer.
TEST(PlainAttention, of_a_prompt_is_bound_by_what_takes_longer) {
    for_seeds(200, [](Draw& draw) {
        const PlainConstants both = drawn_constants(draw, 4);
        PlainConstants computes = both, reads = both;
        computes.fixed = reads.fixed = reads.block = reads.key = 0;
        computes.bandwidth = {0, kNever, kNever, kNever, kNever};
        reads.rates = computes.bandwidth;
        PlainAttention whole(both), compute(computes), memory(reads);
        Request prompt = drawn_prompt(draw);
        prompt.copies = 1;
        prompt.fresh += 128;  // of fewer, some keys are read behind nothing
        const Load load = load_of({prompt});
        for (uint32_t cores = 1; cores <= 4; ++cores) {
            const double computing = compute.seconds(load, cores), reading = memory.seconds(load, cores);
            expect_near(whole.seconds(load, cores), std::hypot(computing, reading) + both.fixed);
            EXPECT_EQ(whole.computing(load, cores), computing >= reading);
        }
    });
}

TEST(PlainAttention, refuses_a_device_without_cores_and_cores_that_it_has_not) {
    PlainConstants none = simple(), uneven = simple();
    none.rates = none.bandwidth = {0};
    uneven.bandwidth.push_back(11);
    EXPECT_THROW(PlainAttention{none}, std::invalid_argument);
    EXPECT_THROW(PlainAttention{uneven}, std::invalid_argument);
    PlainAttention attention(simple());
    std::vector<double> seen(1);
    for (const Load& load : {load_of({{1, 9, 1}}), load_of({{8, 9, 1}}), load_of({{8, 9, 2}, {1, 9, 1}})}) {
        EXPECT_THROW(attention.seconds(load, 3), std::out_of_range);
        EXPECT_THROW(attention.steps(load, 3, seen), std::out_of_range);
        EXPECT_THROW(attention.computing(load, 3), std::out_of_range);
    }
}

TEST(HiddenKeys, are_all_that_one_prompt_of_a_block_or_more_reads) {
    for_seeds(300, [](Draw& draw) {
        Request prompt = drawn_prompt(draw);
        prompt.copies = 1;
        const Load load = load_of({prompt});
        const double seen = prompt.fresh + prompt.cached;
        const double hidden = hidden_keys(load.prefill_tokens, load.prefill_pairs, kNever, 128);
        if (prompt.fresh >= 128 || prompt.cached == 0) {
            expect_near(hidden, seen);
        } else {
            EXPECT_LT(hidden, seen);
            EXPECT_GE(hidden, prompt.fresh) << "those of a prompt of as many pairs with nothing cached";
        }
    });
}

TEST(HiddenKeys, are_no_more_than_any_prompts_of_so_many_tokens_and_pairs_read) {
    for_seeds(2000, [](Draw& draw) {
        std::vector<Request> prompts{drawn_prompt(draw)};
        for (int64_t left = draw.whole(0, 3); left > 0; --left) prompts.push_back(drawn_prompt(draw));
        const Load load = load_of(prompts);
        EXPECT_LE(hidden_keys(load.prefill_tokens, load.prefill_pairs, kNever, 128),
                  load.prefill_seen * (1 + kRounded));
        EXPECT_EQ(hidden_keys(load.prefill_tokens, load.prefill_pairs, 1, 128), 1) << "nor than there are";
    });
}

}  // namespace
}  // namespace flexnpu
