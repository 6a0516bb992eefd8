// SPDX-License-Identifier: Apache-2.0
// Sums of requests against a loop over single tokens, each of which reads single keys.
#include "forecast/load.h"

#include <gtest/gtest.h>

#include <vector>

#include "seeds.h"

namespace flexnpu {
namespace {

using Window = std::optional<double>;

// By what a token looks at: itself and what is before it, as far back as the window reaches.
void run_token_by_token(Load& load, const Request& request, Window window) {
    const auto fresh = static_cast<int64_t>(request.fresh), cached = static_cast<int64_t>(request.cached);
    std::vector<bool> read(static_cast<size_t>(cached + fresh));
    double pairs = 0, seen = 0;
    for (int64_t token = cached; token < cached + fresh; ++token) {
        for (int64_t key = 0; key <= token; ++key) {
            if (window && token - key >= static_cast<int64_t>(*window)) continue;
            ++pairs;
            read[static_cast<size_t>(key)] = true;
        }
    }
    for (const bool each : read) seen += each;
    load.logits += 1;
    if (fresh == 1) {
        load.decode_sequences += 1;
        load.decode_seen += seen;
    } else {
        load.prefill_tokens += static_cast<double>(fresh);
        load.prefill_sequences += 1;
        load.prefill_pairs += pairs;
        load.prefill_seen += seen;
    }
}

void expect_equal(const Load& one, const Load& two) {
    EXPECT_EQ(one.prefill_tokens, two.prefill_tokens);
    EXPECT_EQ(one.prefill_sequences, two.prefill_sequences);
    EXPECT_EQ(one.prefill_pairs, two.prefill_pairs);
    EXPECT_EQ(one.prefill_seen, two.prefill_seen);
    EXPECT_EQ(one.decode_sequences, two.decode_sequences);
    EXPECT_EQ(one.decode_seen, two.decode_seen);
    EXPECT_EQ(one.logits, two.logits);
}

Load sums(const std::vector<Request>& requests, Window window) {
    Load load;
    for (const Request& each : requests) add(load, each, window);
    return load;
}

void expect_token_by_token(const std::vector<Request>& requests, Window window) {
    Load plain;
    for (const Request& each : requests) {
        for (double copy = 0; copy < each.copies; ++copy) run_token_by_token(plain, each, window);
    }
    expect_equal(sums(requests, window), plain);
}

std::vector<Request> drawn(Draw& draw) {
    std::vector<Request> requests;
    for (int64_t left = draw.whole(0, 5); left > 0; --left) {
        const int64_t fresh = draw.once_in(3) ? 1 : draw.whole(1, 40);
        requests.push_back({static_cast<double>(fresh), static_cast<double>(draw.whole(0, 60)),
                            static_cast<double>(draw.whole(1, 3))});
    }
    return requests;
}

TEST(LoadSums, are_what_every_token_reads) {
    for_seeds(200, [](Draw& draw) { expect_token_by_token(drawn(draw), {}); });
}

TEST(LoadSums, end_where_the_window_does) {
    for_seeds(400, [](Draw& draw) {
        const auto requests = drawn(draw);
        expect_token_by_token(requests, static_cast<double>(draw.whole(1, 110)));
    });
}

// Windows that end before, at and behind each of few tokens: every branch of the sums, and its neighbours.
TEST(LoadSums, are_right_wherever_the_window_ends) {
    for (double fresh = 1; fresh <= 5; ++fresh) {
        for (double cached = 0; cached <= 5; ++cached) {
            for (double window = 1; window <= 12; ++window) {
                SCOPED_TRACE(testing::Message() << fresh << " after " << cached << ", window " << window);
                expect_token_by_token({{fresh, cached, 2}}, window);
            }
        }
    }
}

TEST(LoadSums, of_long_contexts_are_exact) {
    constexpr double kFresh = 100'000, kCached = 900'000, kWindow = 4096;
    double all = 0, looked_at = 0;
    for (double token = 1; token <= kFresh; ++token) {
        all += kCached + token;
        looked_at += kCached + token < kWindow ? kCached + token : kWindow;
    }
    EXPECT_EQ(sums({{kFresh, kCached, 1}}, {}).prefill_pairs, all);
    EXPECT_EQ(sums({{kFresh, kCached, 1}}, kWindow).prefill_pairs, looked_at);
}

TEST(LoadSums, do_not_depend_on_the_order_of_requests) {
    for_seeds(50, [](Draw& draw) {
        auto requests = drawn(draw);
        const Window window = draw.once_in(2) ? Window(draw.whole(1, 90)) : Window();
        const Load forth = sums(requests, window);
        expect_equal(forth, sums({requests.rbegin(), requests.rend()}, window));
    });
}

TEST(LoadSums, of_a_prompt_in_parts_have_its_pairs) {
    for_seeds(50, [](Draw& draw) {
        const Window window = draw.once_in(2) ? Window(draw.whole(1, 90)) : Window();
        std::vector<Request> parts;
        double done = static_cast<double>(draw.whole(0, 40));
        const double cached = done;
        for (int64_t left = draw.whole(1, 5); left > 0; --left) {
            parts.push_back({static_cast<double>(draw.whole(2, 20)), done, 1});
            done += parts.back().fresh;
        }
        EXPECT_EQ(sums(parts, window).prefill_pairs, sums({{done - cached, cached, 1}}, window).prefill_pairs);
    });
}

TEST(Load, one_prompt_is_no_reader_and_every_further_one_is) {
    EXPECT_EQ(Load{}.readers(), 0);
    EXPECT_EQ(sums({{8, 0, 1}}, {}).readers(), 0);
    EXPECT_EQ(sums({{8, 0, 3}}, {}).readers(), 2);
    EXPECT_EQ(sums({{1, 7, 4}}, {}).readers(), 4);
    EXPECT_EQ(sums({{1, 7, 4}, {8, 0, 2}}, {}).readers(), 5);
    EXPECT_EQ(sums({{1, 7, 4}, {8, 0, 2}}, {}).tokens(), 20);
}

}  // namespace
}  // namespace flexnpu
