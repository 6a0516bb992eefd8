// SPDX-License-Identifier: Apache-2.0
// From operators to the report page: what phase one was given, kept until the launch, and the step that it makes.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr int kLayers = 3;
char layout_bnsd[] = "BNSD";
char layout_bsh[] = "BSH";

class Tensor {
  public:
    explicit Tensor(std::vector<int64_t> sizes)
        : made_(aclCreateTensor(sizes.data(), sizes.size(), ACL_FLOAT16, nullptr, 0, ACL_FORMAT_ND, sizes.data(),
                                sizes.size(), nullptr)) {}
    ~Tensor() { aclDestroyTensor(made_); }
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    aclTensor* get() const { return made_; }

  private:
    aclTensor* made_;
};

class Steps : public testing::Test {
  protected:
    void begin() {
        aclOpExecutor* executor = nullptr;
        ASSERT_EQ(aclnnEmbeddingGetWorkspaceSize(nullptr, nullptr, nullptr, &size_, &executor), ACL_SUCCESS);
        ASSERT_EQ(aclnnEmbedding(nullptr, size_, executor, nullptr), ACL_SUCCESS);
    }
    aclOpExecutor* tile(int64_t batch, int64_t tokens, int64_t context) {
        const Tensor query({batch, 8, tokens, 64});
        const Tensor key({batch, 8, context, 64});
        aclOpExecutor* executor = nullptr;
        aclnnFlashAttentionScoreGetWorkspaceSize(query.get(), key.get(), key.get(), nullptr, nullptr, nullptr, nullptr,
                                                 nullptr, 0.125, 1.0, 65535, 65535, 8, layout_bnsd, 0, 0, nullptr,
                                                 nullptr, nullptr, nullptr, &size_, &executor);
        return executor;
    }
    void pass(int64_t batch, int64_t tokens, int64_t context) {
        begin();
        for (int i = 0; i < kLayers; ++i) {
            aclnnFlashAttentionScore(nullptr, size_, tile(batch, tokens, context), nullptr);
        }
    }
    const flexnpu_iteration& last() { return daemon.page().iteration; }
    uint64_t steps() { return last().sequence / 2; }

    uint64_t size_ = 0;
    Daemon daemon;
};

TEST_F(Steps, are_on_the_report_page_with_their_tokens_and_contexts) {
    pass(2, 17, 17);
    pass(2, 1, 18);
    pass(2, 1, 19);
    EXPECT_EQ(steps(), 3u);
    EXPECT_EQ(last().phase, uint64_t{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(last().requests, 2u);
    EXPECT_EQ(last().new_tokens, 2u);
    EXPECT_EQ(last().context_sum, 38u);
    EXPECT_EQ(last().context_most, 19u);
    EXPECT_EQ(last().graph, 0u);
    EXPECT_GT(last().at_ns, 0u);
    EXPECT_EQ(daemon.page().totals[0], 1u);
    EXPECT_EQ(daemon.page().totals[1], 2u);
}

TEST_F(Steps, are_there_when_they_begin_and_ring_for_who_follows_them) {
    begin();
    ASSERT_TRUE(daemon.applied_within(1, 5));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // until that has rung, too
    const uint32_t bell = daemon.report().bell;
    aclnnFlashAttentionScore(nullptr, size_, tile(2, 170, 170), nullptr);
    EXPECT_EQ(daemon.page().begun.sequence, 2u);
    EXPECT_EQ(daemon.page().begun.phase, uint64_t{FLEXNPU_PHASE_PREFILL});
    EXPECT_EQ(daemon.page().begun.new_tokens, 340u);
    EXPECT_GT(daemon.page().begun.at_ns, 0u);
    EXPECT_EQ(steps(), 0u);
    EXPECT_EQ(daemon.report().bell, bell) << "nobody follows";
    daemon.watch();
    pass(2, 1, 171);
    EXPECT_EQ(daemon.page().begun.phase, uint64_t{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(daemon.report().bell, bell + 1);
    EXPECT_EQ(daemon.page().begun_number, 2u);
}

TEST_F(Steps, that_are_told_twice_are_one) {
    pass(2, 170, 170);
    begin();
    aclnnFlashAttentionScore(nullptr, size_, tile(2, 1, 171), nullptr);
    const uint64_t told = daemon.page().begun.sequence;
    aclnnFlashAttentionScore(nullptr, size_, tile(1, 40, 40), nullptr);
    EXPECT_EQ(daemon.page().begun.sequence, told + 2);
    EXPECT_EQ(daemon.page().begun.phase, uint64_t{FLEXNPU_PHASE_MIXED});
    EXPECT_EQ(daemon.page().begun_number, 2u);
}

TEST_F(Steps, have_the_phase_that_was_declared_and_their_own_counts) {
    begin();  // attaches
    daemon.declare(FLEXNPU_PHASE_PREFILL);
    for (int64_t context = 18; context < 21; ++context) pass(4, 1, context);
    EXPECT_EQ(last().phase, uint64_t{FLEXNPU_PHASE_PREFILL});
    EXPECT_EQ(last().new_tokens, 4u);
    EXPECT_EQ(daemon.page().totals[0], steps());
}

TEST_F(Steps, lengths_in_an_array_are_those_of_each_sequence) {
    const Tensor query({3, 1, 512});
    for (int64_t step = 0; step < 3; ++step) {
        begin();
        for (int i = 0; i < kLayers; ++i) {
            const int64_t lengths[] = {100 + step, 7 + step, 300 + step};
            aclIntArray* array = aclCreateIntArray(lengths, 3);
            aclOpExecutor* executor = nullptr;
            aclnnIncreFlashAttentionGetWorkspaceSize(query.get(), nullptr, nullptr, nullptr, nullptr, array, 8, 0.125,
                                                     layout_bsh, 8, nullptr, &size_, &executor);
            aclDestroyIntArray(array);
            aclnnIncreFlashAttention(nullptr, size_, executor, nullptr);
        }
    }
    EXPECT_EQ(steps(), 3u);
    EXPECT_EQ(last().phase, uint64_t{FLEXNPU_PHASE_DECODE});
    EXPECT_EQ(last().requests, 3u);
    EXPECT_EQ(last().context_sum, 413u);
    EXPECT_EQ(last().context_most, 302u);
}

TEST_F(Steps, an_executor_found_in_the_cache_does_what_its_phase_one_said) {
    for (uint64_t step = 1; step <= 3; ++step) {
        begin();
        for (int i = 0; i < kLayers; ++i) {
            aclOpExecutor* executor = PTAGetExecCache(step, &size_);
            if (executor == nullptr) {
                SetPTAHashKey(step);
                executor = tile(1, 1, 40 + static_cast<int64_t>(step));
            }
            aclnnFlashAttentionScore(nullptr, size_, executor, nullptr);
        }
    }
    EXPECT_EQ(steps(), 3u);
    EXPECT_EQ(last().context_sum, 43u);
    EXPECT_EQ(null_record()->tilings, 3u + 3u) << "an attention and an embedding for each step";
}

}  // namespace
