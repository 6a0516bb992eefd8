// SPDX-License-Identifier: Apache-2.0
// What the first tokens of a queue bring to an iteration, token by token.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "drawn_queue.h"

namespace flexnpu {
namespace {

std::pair<Load, double> take_one_by_one(const Prompts& prompts, const Places& places, double tokens) {
    Load load;
    double took = 0;
    for (const uint32_t place : places) {
        for (double token = 1; token <= prompts[place].fresh && took < tokens; ++token) {
            // It reads itself and all before it; the first of a prompt brings the cached ones.
            if (token == 1) ++load.prefill_sequences;
            load.prefill_seen += token == 1 ? prompts[place].cached + 1 : 1;
            load.prefill_pairs += prompts[place].cached + token;
            ++load.prefill_tokens, ++took;
            if (token == prompts[place].fresh) ++load.logits;
        }
    }
    return {load, took};
}

void expect_taken(Line& line, const Prompts& prompts, const Places& places, double tokens) {
    const auto [load, took] = line.take(tokens);
    const auto [plain, count] = take_one_by_one(prompts, places, tokens);
    EXPECT_EQ(took, count) << tokens;
    EXPECT_EQ(load.prefill_tokens, plain.prefill_tokens) << tokens;
    EXPECT_EQ(load.prefill_sequences, plain.prefill_sequences) << tokens;
    EXPECT_EQ(load.prefill_pairs, plain.prefill_pairs) << tokens;
    EXPECT_EQ(load.prefill_seen, plain.prefill_seen) << tokens;
    EXPECT_EQ(load.logits, plain.logits) << tokens;
    EXPECT_EQ(load.decode_sequences, 0);
    EXPECT_EQ(load.decode_seen, 0);
}

double all_of(const Prompts& prompts) {
    double tokens = 0;
    for (const Prompt& each : prompts) tokens += each.fresh;
    return tokens;
}

TEST(Line, brings_what_its_first_tokens_do_whatever_was_asked_before) {
    for_seeds(200, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, draw.whole(0, 8), 2);
        Places places;
        for (uint32_t place = 0; place < prompts.size(); ++place) places.push_back(place);
        Line line = Queue(prompts).line();
        for (int i = 0; i < 30; ++i) {
            const auto tokens = draw.whole(-3, static_cast<int64_t>(all_of(prompts)) + 5);
            expect_taken(line, prompts, places, static_cast<double>(tokens));
        }
    });
}

TEST(Line, brings_every_number_of_tokens_up_to_all) {
    for_seeds(20, [](Draw& draw) {
        const Prompts prompts = drawn_prompts(draw, 3);
        Line line = Queue(prompts).line();
        for (double tokens = all_of(prompts) + 2; tokens >= 0; --tokens) {
            expect_taken(line, prompts, {0, 1, 2}, tokens);
        }
    });
}

TEST(Line, of_entries_runs_all_that_each_stands_for_one_after_the_other) {
    for_seeds(200, [](Draw& draw) {
        const int64_t entries = draw.whole(1, 6);
        const Prompts prompts = drawn_prompts(draw, entries, draw.whole(1, 3));
        Places named, places;
        for (uint32_t entry = 0; entry < entries; ++entry) {
            const auto at = draw.whole(0, static_cast<int64_t>(named.size()));
            named.insert(named.begin() + at, entry);
        }
        for (const uint32_t entry : named) {
            for (uint32_t place = 0; place < prompts.size(); ++place) {
                if (prompts[place].entry == entry) places.push_back(place);
            }
        }
        Line line = Queue(prompts).line(named);
        for (int i = 0; i < 10; ++i) {
            const auto tokens = draw.whole(0, static_cast<int64_t>(all_of(prompts)));
            expect_taken(line, prompts, places, static_cast<double>(tokens));
        }
    });
}

TEST(Line, of_nobody_brings_nothing) {
    Line line = Queue(Prompts{}).line(), none = Queue(Prompts{}).line(Places{});
    expect_taken(line, {}, {}, 7);
    expect_taken(none, {}, {}, 0);
}

TEST(Line, brings_all_when_there_is_room_without_end) {
    const Prompts prompts{{.fresh = 4, .cached = 2, .work = 1, .slack = 1, .entry = 0}};
    Line line = Queue(prompts).line();
    EXPECT_EQ(line.take(std::numeric_limits<double>::infinity()).second, 4);
    expect_taken(line, prompts, {0}, 3);
}

TEST(Line, outlives_its_queue) {
    auto queue = std::make_unique<Queue>(Prompts{{.fresh = 4, .cached = 2, .work = 1, .slack = 1, .entry = 0}});
    Line line = queue->line();
    queue.reset();
    EXPECT_EQ(line.take(9).first.prefill_pairs, 4 * 2 + 4 * 5 / 2);
}

TEST(Line, refuses_entries_that_nobody_is_of) {
    for (const int64_t copies : {1, 2}) {
        Prompts prompts{{.fresh = 4, .cached = 2, .work = 1, .slack = 1, .entry = 0}};
        if (copies == 2) prompts.push_back(prompts.front());
        EXPECT_THROW(Queue(prompts).line(Places{1}), std::out_of_range) << copies;
        EXPECT_THROW(Queue(prompts).line(Places{0, 7}), std::out_of_range) << copies;
    }
}

}  // namespace
}  // namespace flexnpu
