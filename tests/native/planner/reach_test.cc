// SPDX-License-Identifier: Apache-2.0
// How far tokens reach, one token after the other.
#include <gtest/gtest.h>

#include <limits>

#include "drawn_queue.h"

namespace flexnpu {
namespace {

Reach one_by_one(const std::vector<double>& fresh, double tokens) {
    Reach found{0, 0};
    for (const double all : fresh) {
        double got = 0;
        for (; got < all && tokens >= 1; --tokens) ++got;
        if (got == 0) break;
        ++found.count;
        if (got < all) {
            found.part = got;
            break;
        }
    }
    return found;
}

void expect_reached(const std::vector<double>& fresh, double tokens) {
    const Reach found = reach(fresh, tokens), plain = one_by_one(fresh, tokens);
    EXPECT_EQ(found.count, plain.count) << tokens << " tokens of " << testing::PrintToString(fresh);
    EXPECT_EQ(found.part, plain.part) << tokens << " tokens of " << testing::PrintToString(fresh);
}

TEST(Reach, is_what_tokens_given_one_by_one_come_to) {
    for_seeds(1000, [](Draw& draw) {
        std::vector<double> fresh;
        int64_t all = 0;
        for (int64_t left = draw.whole(0, 8); left > 0; --left) {
            const int64_t each = draw.whole(1, 12);
            fresh.push_back(static_cast<double>(each));
            all += each;
        }
        expect_reached(fresh, static_cast<double>(draw.whole(-2, all + 3)));
        expect_reached(fresh, draw.real(-1.0, static_cast<double>(all) + 2.0));
    });
}

TEST(Reach, of_nobody_and_of_no_tokens_is_nothing) {
    for (const double tokens : {-5.0, 0.0, 0.999}) expect_reached({3, 1}, tokens);
    expect_reached({}, 7);
}

TEST(Reach, of_tokens_without_end_is_all) {
    EXPECT_EQ(reach(std::vector<double>{3, 1}, std::numeric_limits<double>::infinity()).count, 2u);
}

}  // namespace
}  // namespace flexnpu
