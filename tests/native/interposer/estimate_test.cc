// SPDX-License-Identifier: Apache-2.0
// What the gate learns of a program: how long its launches take, whether it comes back soon, and how long it waits.
#include "estimate.h"

#include <gtest/gtest.h>

#include "brevity.h"
#include "patience.h"

namespace {

constexpr int64_t kMs = 1'000'000;

TEST(Patience, is_lost_with_who_never_comes_back_soon_and_regained_at_once) {
    flexnpu::Patience patience;
    EXPECT_EQ(patience.ns(), flexnpu::Patience::kMostNs);
    for (int i = 0; i < 100; ++i) patience.came_back(kMs);
    EXPECT_EQ(patience.ns(), flexnpu::Patience::kMostNs / 8);
    patience.came_back(50'000);
    EXPECT_EQ(patience.ns(), flexnpu::Patience::kMostNs);
}

TEST(Patience, is_lost_more_slowly_each_time_that_it_was_wrong) {
    flexnpu::Patience patience;
    const auto steps = [&] {
        int count = 0;
        while (patience.ns() == flexnpu::Patience::kMostNs) {
            patience.came_back(kMs);
            ++count;
        }
        patience.came_back(50'000);
        return count;
    };
    const int first = steps();
    EXPECT_EQ(steps(), 2 * first);
    EXPECT_EQ(steps(), 4 * first);
    for (int i = 0; i < 2000; ++i) patience.came_back(kMs);
    patience.came_back(50'000);
    EXPECT_LT(steps(), 8 * first) << "and forgets that";
}

TEST(Brevity, is_learnt_from_short_waits_and_forgotten_with_one_long_one) {
    flexnpu::Brevity brevity;
    EXPECT_EQ(brevity.ns(), 0u) << "nothing is known: who waits sleeps";
    for (int i = 0; i < 20; ++i) brevity.waited(30'000);
    EXPECT_NEAR(static_cast<double>(brevity.ns()), 60'000, 5'000) << "twice what is usual";
    brevity.waited(20 * kMs);
    EXPECT_EQ(brevity.ns(), 0u);
}

TEST(Brevity, never_spins_for_longer_than_two_wake_ups_take) {
    flexnpu::Brevity brevity;
    for (int i = 0; i < 20; ++i) brevity.waited(90'000);
    EXPECT_EQ(brevity.ns(), flexnpu::Brevity::kMostNs);
    for (int i = 0; i < 20; ++i) brevity.waited(150'000);
    EXPECT_EQ(brevity.ns(), 0u);
}

TEST(Estimates, keep_the_longest_and_forget_it_slowly) {
    static flexnpu::Estimates estimates;
    EXPECT_EQ(estimates.take(5), 0u);
    estimates.learn(5, 1000);
    EXPECT_EQ(estimates.take(5), 1000u);
    estimates.learn(5, 8000);
    estimates.learn(5, 0);
    EXPECT_EQ(estimates.take(5), 6000u);
    for (int i = 0; i < 60; ++i) estimates.learn(5, 1000);
    EXPECT_NEAR(static_cast<double>(estimates.take(5)), 1000, 10);
}

TEST(Estimates, ask_for_a_new_measurement_now_and_then) {
    static flexnpu::Estimates estimates;
    estimates.learn(5, 1000);
    uint32_t uses = 0;
    while (estimates.take(5) != 0) ++uses;
    EXPECT_EQ(uses, flexnpu::Estimates::kUsesBetween - 1);
    EXPECT_TRUE(estimates.is_due(5));
    EXPECT_EQ(estimates.peek(5), 1000u);
    estimates.learn(5, 1000);
    EXPECT_FALSE(estimates.is_due(5));
}

TEST(Estimates, a_guess_never_lengthens_and_is_asked_for_again) {
    static flexnpu::Estimates estimates;
    estimates.guess(5, 9000);
    EXPECT_EQ(estimates.take(5), 0u);
    EXPECT_EQ(estimates.peek(5), 9000u);
    estimates.guess(5, 70'000);
    EXPECT_EQ(estimates.take(5), 9000u) << "of two the shorter one counts";
    estimates.learn(5, 1000);
    estimates.guess(5, 70'000);
    EXPECT_LT(estimates.take(5), 9000u);
    estimates.guess(6, 9000);
    estimates.learn(6, 1000);
    EXPECT_EQ(estimates.take(6), 1000u) << "a measurement replaces a guess";
}

TEST(Estimates, a_full_table_forgets_and_never_mixes) {
    static flexnpu::Estimates estimates;
    for (uint64_t key = 1; key <= 5000; ++key) estimates.learn(key, key);
    uint32_t known = 0;
    for (uint64_t key = 1; key <= 5000; ++key) {
        const uint64_t ns = estimates.peek(key);
        known += ns != 0;
        EXPECT_TRUE(ns == 0 || ns == key) << key;
    }
    EXPECT_GT(known, 900u);
}

}  // namespace
