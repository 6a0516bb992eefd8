// SPDX-License-Identifier: Apache-2.0
// Memory pools: what a pool keeps for its next blocks is charged.
#include <gtest/gtest.h>

#include "daemon.h"
#include "nullacl.h"

namespace {

class Pools : public testing::Test {
  protected:
    void SetUp() override {
        aclrtMemPoolProps props{};
        props.location = {0, ACL_MEM_LOCATION_TYPE_DEVICE};
        ASSERT_EQ(aclrtMemPoolCreate(&pool, &props), ACL_SUCCESS);
    }
    aclError take(void** block, size_t bytes) { return aclrtMemPoolMallocAsync(block, bytes, pool, nullptr); }

    Daemon daemon{{.memory_bytes = 1000}};
    aclrtMemPool pool = nullptr;
};

TEST_F(Pools, what_a_pool_keeps_is_charged_once) {
    void* block = nullptr;
    ASSERT_EQ(take(&block, 600), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolFreeAsync(block, nullptr), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 600u);
    ASSERT_EQ(take(&block, 500), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 600u) << "it came from what the pool had kept";
    void* more = nullptr;
    EXPECT_EQ(take(&more, 501), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(take(&more, 500), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 1000u);
}

TEST_F(Pools, trimming_gives_back_what_is_not_in_use) {
    void* first = nullptr;
    void* second = nullptr;
    ASSERT_EQ(take(&first, 300), ACL_SUCCESS);
    ASSERT_EQ(take(&second, 400), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolFreeAsync(second, nullptr), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolTrimTo(pool, 500), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 500u);
    ASSERT_EQ(aclrtMemPoolTrimTo(pool, 0), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 300u);
}

TEST_F(Pools, what_a_pool_has_given_back_by_itself_does_not_deny_others) {
    void* block = nullptr;
    ASSERT_EQ(take(&block, 600), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolFreeAsync(block, nullptr), ACL_SUCCESS);
    null_places()->pool_reserve = 100;
    void* other = nullptr;
    EXPECT_EQ(aclrtMalloc(&other, 900, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 1000u);
    EXPECT_EQ(daemon.report().memory_denied, 0u);
}

TEST_F(Pools, blocks_that_outlive_their_pool_are_charged_until_they_are_freed) {
    void* live = nullptr;
    void* freed = nullptr;
    ASSERT_EQ(take(&live, 300), ACL_SUCCESS);
    ASSERT_EQ(take(&freed, 400), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolFreeAsync(freed, nullptr), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemPoolDestroy(pool), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 300u);
    ASSERT_EQ(aclrtMemPoolFreeAsync(live, nullptr), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

}  // namespace
