// SPDX-License-Identifier: Apache-2.0
#include "phase.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "stream.h"

namespace {

using flexnpu::Attention;
using flexnpu::PhaseDetector;
using flexnpu::Step;

constexpr uint32_t kLayers = 4;

struct Sequence {
    uint32_t tokens, context;
};

Attention of(std::initializer_list<Sequence> sequences) {
    Attention call;
    for (const Sequence& each : sequences) call.add(each.tokens, each.context);
    return call;
}

class Phase : public testing::Test {
  protected:
    Phase() {
        detector.tell([](void* to, const Step& step) { static_cast<Phase*>(to)->steps.push_back(step); },
                      [](void* to, const Step& step) { static_cast<Phase*>(to)->begun.push_back(step); }, this);
    }
    void pass(const Attention& call) {
        detector.begin();
        layers(call);
    }
    void layers(const Attention& call) {
        for (uint32_t i = 0; i < kLayers; ++i) detector.attention(call);
    }
    void capture(uint64_t graph, const Attention& call, bool groups) {
        detector.captured_begin(graph);
        for (uint32_t i = 0; i < kLayers; ++i) {
            detector.captured_attention(graph, call);
            if (groups) detector.captured_group(graph);
        }
    }
    std::vector<flexnpu_phase> phases() const {
        std::vector<flexnpu_phase> found;
        for (const Step& each : steps) found.push_back(each.phase);
        return found;
    }
    using Phases = std::vector<flexnpu_phase>;

    PhaseDetector detector{};
    std::vector<Step> steps, begun;
};

TEST_F(Phase, one_token_after_a_past_is_decode_and_a_prompt_is_prefill) {
    pass(of({{17, 17}, {300, 300}}));
    pass(of({{1, 18}, {1, 301}}));
    detector.begin();
    EXPECT_EQ(phases(), (Phases{FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_DECODE}));
    EXPECT_EQ(steps[0].requests, 2u);
    EXPECT_EQ(steps[0].tokens, 317u);
    EXPECT_EQ(steps[1].context, 319u);
    EXPECT_EQ(steps[1].longest, 301u);
    EXPECT_FALSE(steps[1].graph);
}

TEST_F(Phase, a_step_is_told_by_its_first_call_and_again_by_another_kind_of_call) {
    detector.begin();
    detector.attention(of({{1, 18}}));
    ASSERT_EQ(begun.size(), 1u) << "long before it is over";
    EXPECT_EQ(begun[0].phase, FLEXNPU_PHASE_DECODE);
    detector.attention(of({{128, 640}}));
    ASSERT_EQ(begun.size(), 2u);
    EXPECT_EQ(begun[1].phase, FLEXNPU_PHASE_MIXED);
    EXPECT_EQ(begun[1].tokens, 129u);
    EXPECT_EQ(begun[1].context, 658u);
    detector.attention(of({{1, 18}}));
    detector.attention(of({{128, 640}}));
    EXPECT_EQ(begun.size(), 2u);
    EXPECT_TRUE(steps.empty());
}

TEST_F(Phase, a_prompt_of_one_token_is_prefill) {
    pass(of({{1, 1}}));
    detector.begin();
    EXPECT_EQ(phases(), Phases{FLEXNPU_PHASE_PREFILL});
}

TEST_F(Phase, what_pads_a_batch_of_decodes_is_not_counted) {
    pass(of({{1, 18}, {1, 301}, {1, 1}, {1, 1}}));
    detector.begin();
    EXPECT_EQ(phases(), Phases{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(steps[0].requests, 2u);
    EXPECT_EQ(steps[0].tokens, 2u);
    EXPECT_EQ(steps[0].context, 319u);
}

TEST_F(Phase, a_chunk_beside_decodes_is_mixed_in_one_call_and_in_two) {
    pass(of({{1, 18}, {128, 512}}));
    detector.begin();
    for (uint32_t i = 0; i < kLayers; ++i) {
        detector.attention(of({{1, 19}}));
        detector.attention(of({{128, 640}}));
    }
    detector.begin();
    EXPECT_EQ(phases(), (Phases{FLEXNPU_PHASE_MIXED, FLEXNPU_PHASE_MIXED}));
    EXPECT_EQ(steps[1].requests, 2u);
    EXPECT_EQ(steps[1].tokens, 129u);
    EXPECT_EQ(steps[1].context, 659u);
}

TEST_F(Phase, a_short_end_of_a_prompt_in_chunks_is_not_decode) {
    pass(of({{128, 128}}));
    pass(of({{4, 132}}));
    pass(of({{1, 133}, {128, 256}}));
    pass(of({{1, 134}, {5, 261}}));
    detector.begin();
    EXPECT_EQ(phases(),
              (Phases{FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_MIXED, FLEXNPU_PHASE_MIXED}));
}

TEST_F(Phase, a_few_tokens_for_each_sequence_are_speculative_decoding) {
    pass(of({{200, 200}, {90, 90}}));
    for (uint32_t i = 1; i < 4; ++i) pass(of({{4, 210 + i}, {4, 120 + i}}));
    detector.begin();
    EXPECT_EQ(phases(),
              (Phases{FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_DECODE, FLEXNPU_PHASE_DECODE, FLEXNPU_PHASE_DECODE}));
}

TEST_F(Phase, a_step_is_told_with_its_last_layer_once_the_layers_are_known) {
    pass(of({{17, 17}}));
    pass(of({{1, 18}}));
    EXPECT_EQ(steps.size(), 1u);
    pass(of({{1, 19}}));
    EXPECT_EQ(steps.size(), 3u);
    EXPECT_FALSE(steps[2].late);
}

TEST_F(Phase, more_layers_than_before_make_no_step_of_their_own) {
    for (uint32_t i = 0; i < 4; ++i) pass(of({{1, 18 + i}}));
    EXPECT_EQ(steps.size(), 4u);
    for (uint32_t i = 0; i < 3; ++i) {
        pass(of({{1, 30 + i}}));
        layers(of({{1, 30 + i}}));
    }
    detector.begin();
    EXPECT_EQ(steps.size(), 7u);
}

TEST_F(Phase, without_a_visible_beginning_changed_lengths_part_the_steps) {
    for (uint32_t i = 0; i < 5; ++i) layers(of({{1, 18 + i}, {1, 400 + i}}));
    EXPECT_EQ(phases(), Phases(5, FLEXNPU_PHASE_DECODE));
}

TEST_F(Phase, without_a_visible_beginning_equal_steps_are_parted_by_the_layers) {
    for (uint32_t i = 0; i < 3; ++i) layers(of({{1, 18 + i}}));
    for (uint32_t i = 0; i < 3; ++i) layers(of({{64, 64}}));
    EXPECT_EQ(steps.size(), 6u);
}

TEST_F(Phase, layers_with_a_window_are_the_same_sequences) {
    detector.begin();
    for (uint32_t i = 0; i < kLayers; ++i) {
        detector.attention(of({{1, 16}, {1, 16}}));
        detector.attention(of({{1, 200}, {1, 300}}));
    }
    detector.begin();
    EXPECT_EQ(phases(), Phases{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(steps[0].requests, 2u);
    EXPECT_EQ(steps[0].context, 500u);
}

TEST_F(Phase, heads_laid_side_by_side_as_tokens_are_not_tokens) {
    detector.begin();
    detector.product({1, 2, 128, 0});
    layers(of({{4, 18}, {4, 18}}));
    detector.begin();
    EXPECT_EQ(phases(), Phases{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(steps[0].tokens, 2u);
}

TEST_F(Phase, attention_of_two_products_counts) {
    for (const auto [tokens, context] : {std::array{17u, 17u}, std::array{1u, 18u}}) {
        detector.begin();
        detector.product({1, 2 * tokens, 128, 0});
        for (uint32_t i = 0; i < kLayers; ++i) {
            detector.product({16, tokens, 16, context});
            detector.product({16, tokens, context, 16});
            detector.product({1, 2 * tokens, 128, 0});
        }
    }
    detector.begin();
    EXPECT_EQ(phases(), (Phases{FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_DECODE}));
    EXPECT_EQ(steps[1].requests, 2u);
    EXPECT_EQ(steps[1].context, 36u);
}

TEST_F(Phase, where_no_attention_is_seen_the_rows_of_the_first_and_last_product_tell) {
    for (const uint64_t tokens : {300u, 5u}) {
        detector.begin();
        detector.product({1, tokens, 128, 0});
        detector.product({1, 5, 128, 0});
    }
    detector.begin();
    EXPECT_EQ(phases(), (Phases{FLEXNPU_PHASE_PREFILL, FLEXNPU_PHASE_DECODE}));
    EXPECT_EQ(steps[0].tokens, 300u);
    EXPECT_EQ(steps[0].requests, 5u);
}

TEST_F(Phase, a_replay_is_a_step_of_what_was_captured) {
    capture(7, of({{1, 512}, {1, 512}}), false);
    EXPECT_TRUE(steps.empty());
    detector.replay(7);
    detector.replay(7);
    EXPECT_EQ(phases(), Phases(2, FLEXNPU_PHASE_DECODE));
    EXPECT_TRUE(steps[1].graph);
    detector.forget(7);
    detector.replay(7);
    EXPECT_EQ(steps.size(), 2u);
}

TEST_F(Phase, lengths_that_change_while_a_graph_replays_are_its_lengths) {
    capture(7, of({{1, 512}}), true);
    detector.replay(7);
    EXPECT_TRUE(steps.empty());
    for (uint32_t i = 0; i < kLayers; ++i) detector.update(7, of({{1, 90}}));
    ASSERT_EQ(steps.size(), 1u);
    EXPECT_EQ(steps[0].context, 90u);
}

TEST_F(Phase, lengths_that_change_before_a_graph_replays_are_its_lengths) {
    capture(7, of({{1, 512}}), true);
    for (uint32_t step = 0; step < 2; ++step) {
        for (uint32_t i = 0; i < kLayers; ++i) detector.update(7, of({{1, 90 + step}}));
        detector.replay(7);
    }
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[1].context, 91u);
}

TEST_F(Phase, graphs_without_attention_are_parts_of_an_eager_step) {
    detector.captured_begin(1);
    for (uint32_t step = 0; step < 3; ++step) {
        detector.replay(1);
        for (uint32_t i = 0; i < kLayers; ++i) {
            detector.attention(of({{1, 18 + step}}));
            detector.replay(2);
        }
    }
    detector.begin();
    EXPECT_EQ(phases(), Phases(3, FLEXNPU_PHASE_DECODE));
}

// --- recordings of serving examples ---

constexpr const char* kNames[] = {"idle", "prefill", "decode", "mixed"};

struct Score {
    uint32_t wanted = 0, found = 0, right = 0;
    double precision() const { return found > 0 ? double(right) / found : 1; }
    double recall() const { return wanted > 0 ? double(right) / wanted : 1; }
};

bool counts_agree(const recorded::Truth& truth, const Step& step) {
    return step.requests == truth.requests && step.tokens == truth.tokens && step.graph == truth.graph &&
           step.context == truth.context.value_or(step.context) && step.longest == truth.longest.value_or(step.longest);
}

class Recording : public testing::TestWithParam<const char*> {};

// A step is right when it is the only one of its pass and has the pass's phase.
TEST_P(Recording, is_told_with_precision_and_recall_of_at_least_98_percent) {
    const recorded::Result result = recorded::Player(std::string(PHASE_RECORDINGS) + "/" + GetParam() + ".txt").play();
    std::array<Score, 4> scores{};
    std::vector<uint32_t> times(result.truths.size());
    for (const recorded::Seen& each : result.seen) times[each.truth.value_or(0)] += each.truth.has_value();
    uint32_t exact = 0;
    for (const recorded::Seen& each : result.seen) {
        Score& score = scores[each.step.phase];
        ++score.found;
        if (!each.truth || times[*each.truth] != 1) continue;
        const recorded::Truth& truth = result.truths[*each.truth];
        score.right += truth.phase == kNames[each.step.phase];
        exact += counts_agree(truth, each.step);
    }
    for (const recorded::Truth& truth : result.truths) {
        ++scores[std::find(std::begin(kNames), std::end(kNames), truth.phase) - std::begin(kNames)].wanted;
    }
    ASSERT_GT(result.truths.size(), 20u);
    for (size_t phase = 1; phase < scores.size(); ++phase) {
        const Score& score = scores[phase];
        std::printf("%-16s %-8s %4u steps  precision %.4f  recall %.4f\n", GetParam(), kNames[phase], score.wanted,
                    score.precision(), score.recall());
        EXPECT_GE(score.precision(), 0.98) << kNames[phase];
        EXPECT_GE(score.recall(), 0.98) << kNames[phase];
    }
    std::printf("%-16s requests, tokens and contexts exact in %u of %zu\n", GetParam(), exact, result.truths.size());
    EXPECT_GE(exact, 0.98 * double(result.truths.size()));
}

INSTANTIATE_TEST_SUITE_P(Serving, Recording,
                         testing::Values("generate", "unfused", "chunked", "speculative", "graph", "serving_prefill",
                                         "serving_decode", "serving_graphs"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
