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
            .bandwidth = {0, 80, 100},
            .left = 50,
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

// On both cores; computing is the 4-norm of all blocks and the longest one.
const double kKey = std::hypot(1.0 / 100, 1.0 / 100);

double both(double spread, double longest) { return std::pow(std::pow(spread, 4) + std::pow(longest, 4), 0.25); }

TEST(PlainAttention, of_running_requests_follows_the_equation) {
    PlainAttention attention(simple());
    const Load load = load_of({{1, 99, 2}, {1, 19, 1}});
    // 220 keys are 220 operations and, with three queries, 229 bytes.
    expect_near(attention.seconds(load, 2), std::hypot(220.0 / 100 + 0.25, 229.0 / 100) + 0.5);
    const Single one = attention.single(load, 1);
    expect_near(one.alone, std::hypot(220.0 / 60 + 0.25, 229.0 / 80) + 0.5);
    expect_near(one.held, std::hypot(220.0 / 60 + 0.25, 229.0 / 50) + 0.5);
    expect_near(one.traffic, 229.0 / 100);
    EXPECT_EQ(one.links, 0);
}

TEST(PlainAttention, of_one_prompt_follows_the_equation) {
    PlainAttention attention(simple());
    // 8 queries after 4 keys: 68 pairs and 2 in vain for each query, in 2 blocks; 12 keys and 8 queries of 2 bytes. The
    // longest block has 11.2 keys: 11.2 * 12.2 / 2 = 68.
    const double spread = (68.0 + 16.0) / 100 + 2 * 0.25 / 2, longest = (std::sqrt(136.25) - 0.5) / 50 + 0.25;
    const double compute = both(spread, longest), held = std::hypot(1.0 / 100, 1.0 / 50);
    const Load load = load_of({{8, 4, 1}});
    expect_near(attention.seconds(load, 2), std::hypot(compute, 16.0 / 100 + 12 * kKey) + 0.5);
    expect_near(attention.single(load, 2).traffic, 28.0 / 100);
    // Beside a neighbour not all of it is hidden.
    const double turn = 8.0 / 50 / held, hidden = (turn * turn - 0.25) / 16 * held + (std::sqrt(136.25) - turn) / 50;
    ASSERT_LT(hidden, 8.5 * held);
    expect_near(attention.single(load, 2).held,
                std::hypot(compute, 16.0 / 50 + 3.5 * held + hidden) + 8.5 * held - hidden + 0.5);
}

TEST(PlainAttention, of_a_prompt_with_nothing_cached_has_no_block_longer_than_the_prompt) {
    PlainAttention attention(simple());
    const double spread = (36.0 + 16.0) / 100 + 2 * 0.25 / 2, longest = 8.0 / 50 + 0.25;
    expect_near(attention.seconds(load_of({{8, 0, 1}}), 2),
                std::hypot(both(spread, longest), 16.0 / 100 + 8 * kKey) + 0.5);
}

TEST(PlainAttention, of_few_queries_hides_the_less_of_their_keys) {
    PlainAttention attention(simple());
    // 2 queries of a block of 4, after 100 keys: of 102 keys half a one comes with the queries, and half of 101.5 are
    // hidden.
    const double spread = (203.0 + 4.0) / 100 + 0.25 / 2, longest = (std::sqrt(406.25) - 0.5) / 50 + 0.25;
    const double hidden = 203.0 / 4 * kKey;
    ASSERT_GT(0.9555 * (spread - 2 * longest), hidden);
    expect_near(attention.seconds(load_of({{2, 100, 1}}), 2),
                std::hypot(both(spread, longest), 4.0 / 100 + 0.5 * kKey + hidden) + 50.75 * kKey + 0.5);
}

TEST(PlainAttention, hides_no_more_reading_than_what_it_computes_beyond_twice_its_longest_block) {
    PlainConstants constants = simple();
    constants.block = 2.1;
    // As below, in blocks that take less.
    const double spread = (356.0 + 16.0) / 100 + 2 * 2.1 / 2, longest = (std::sqrt(712.25) - 0.5) / 50 + 2.1;
    const double hidden = 0.9555 * (spread - 2 * longest);
    ASSERT_LT(hidden, 44.5 * kKey);
    expect_near(PlainAttention(constants).seconds(load_of({{8, 40, 1}}), 2),
                std::hypot(both(spread, longest), 16.0 / 100 + 3.5 * kKey + hidden) + 44.5 * kKey - hidden + 0.5);
}

TEST(PlainAttention, hides_no_more_reading_than_its_longest_block_grows_by) {
    PlainConstants constants = simple();
    constants.block = 3;  // one core's for a block: as long as all of its pairs
    // 8 queries after 40 keys: 356 pairs, 48 keys, 3.5 with the queries. Computing grows by 1 / 50 for each key of the
    // longest block at least, from the one on with which a key more would hide more than that.
    const double spread = (356.0 + 16.0) / 100 + 2 * 3.0 / 2, root = std::sqrt(712.25), longest = (root - 0.5) / 50 + 3;
    const double turn = 8.0 / 50 / kKey, hidden = (turn * turn - 0.25) / 16 * kKey + (root - turn) / 50;
    ASSERT_LT(spread, 2 * longest);
    ASSERT_LT(turn, root);
    expect_near(PlainAttention(constants).seconds(load_of({{8, 40, 1}}), 2),
                std::hypot(both(spread, longest), 16.0 / 100 + 3.5 * kKey + hidden) + 44.5 * kKey - hidden + 0.5);
}

TEST(PlainAttention, of_further_prompts_reads_behind_nothing_what_one_prompt_would_not_have) {
    PlainAttention attention(simple());
    // Two prompts of 8 after 4 are charged as one of 16 with 136 pairs, which has 16 keys; 8 are beyond those, and the
    // second prompt is a running request that reads no key.
    const double compute = both((136.0 + 32.0) / 100 + 4 * 0.25 / 2, 16.0 / 50 + 0.25);
    const double second = std::hypot(0.25, 3.0 / 100) + 0.5;
    expect_near(attention.seconds(load_of({{8, 4, 2}}), 2),
                std::hypot(compute, 32.0 / 100 + 16 * kKey) + 0.5 + 8 * kKey + second);
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

TEST(PlainAttention, says_whether_a_prompt_computes_for_as_long_as_it_reads) {
    for_seeds(200, [](Draw& draw) {
        const PlainConstants both = drawn_constants(draw, 4);
        PlainConstants computes = both, reads = both;
        computes.bandwidth = {0, kNever, kNever, kNever, kNever};
        computes.generation.pair = 0;  // a key takes no time, then
        reads.block = reads.key = 0;
        reads.rates = computes.bandwidth;
        PlainAttention compute(computes), memory(reads);
        const Load load = load_of({drawn_prompt(draw)});
        for (uint32_t cores = 1; cores <= 4; ++cores) {
            EXPECT_TRUE(compute.computing(load, cores));
            EXPECT_FALSE(memory.computing(load, cores));
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

}  // namespace
}  // namespace flexnpu
