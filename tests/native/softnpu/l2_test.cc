// SPDX-License-Identifier: Apache-2.0
//
// Which bytes the L2 holds, against a model of it that keeps every byte apart.
#include "device/l2.h"

#include <gtest/gtest.h>

#include <list>
#include <random>
#include <vector>

using namespace softnpu;

namespace {

constexpr uint64_t kCapacity = 1000;

uint64_t use_one(L2State& l2, uint64_t start, uint64_t bytes, uint32_t process = 0) {
    const Touched touched{start, bytes};
    return use(l2, kCapacity, process, {&touched, 1});
}

}  // namespace

TEST(L2, finds_what_was_used_and_nothing_else) {
    L2State l2{};
    EXPECT_EQ(use_one(l2, 5000, 100), 0u);
    EXPECT_EQ(use_one(l2, 5000, 100), 100u);
    EXPECT_EQ(use_one(l2, 5050, 100), 50u);
    EXPECT_EQ(use_one(l2, 4900, 300), 150u);
    EXPECT_EQ(use_one(l2, 5010, 10), 10u) << "a piece out of the middle";
    EXPECT_EQ(use_one(l2, 4900, 300), 300u) << "which leaves both ends where they are";
}

TEST(L2, addresses_of_two_processes_are_not_the_same_bytes) {
    L2State l2{};
    use_one(l2, 5000, 100, 1);
    EXPECT_EQ(use_one(l2, 5000, 100, 2), 0u);
    EXPECT_EQ(use_one(l2, 5000, 100, 1), 100u);
    forget(l2, 1);
    EXPECT_EQ(use_one(l2, 5000, 100, 1), 0u);
    EXPECT_EQ(use_one(l2, 5000, 100, 2), 100u);
}

TEST(L2, what_was_used_longest_ago_leaves_first) {
    L2State l2{};
    use_one(l2, 0, 400);
    use_one(l2, 1000, 400);
    use_one(l2, 0, 400);
    use_one(l2, 2000, 400);
    EXPECT_EQ(use_one(l2, 0, 400), 400u);
    EXPECT_EQ(use_one(l2, 1000, 400), 0u);
}

TEST(L2, a_range_larger_than_it_leaves_nothing) {
    L2State l2{};
    use_one(l2, 0, 400);
    EXPECT_EQ(use_one(l2, 0, kCapacity + 1), 400u);
    EXPECT_EQ(use_one(l2, 0, 400), 0u);
}

TEST(L2, ranges_never_overlap_or_pass_its_size_however_they_come) {
    L2State l2{};
    std::mt19937 random(7);
    std::vector<int> held(4000);
    for (int i = 0; i < 20'000; ++i) {
        const uint64_t start = random() % 3500;
        const uint64_t bytes = random() % 400;
        std::fill(held.begin(), held.end(), 0);
        for (const L2Range& range : l2.ranges) {
            for (uint64_t byte = range.start; byte < range.end; ++byte) {
                ++held[byte];
            }
        }
        uint64_t total = 0;
        uint64_t expected = 0;
        for (uint64_t byte = 0; byte < held.size(); ++byte) {
            ASSERT_LE(held[byte], 1) << "byte " << byte << " is held twice";
            total += static_cast<uint64_t>(held[byte]);
            expected += byte >= start && byte < start + bytes ? static_cast<uint64_t>(held[byte]) : 0;
        }
        ASSERT_LE(total, kCapacity);
        ASSERT_EQ(use_one(l2, start, bytes), expected);
    }
}
