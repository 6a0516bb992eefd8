// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <thread>
#include <vector>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr auto kPolicy = ACL_MEM_MALLOC_HUGE_FIRST;

TEST(Memory, the_limit_is_exact) {
    Daemon daemon({.memory_bytes = 1000});
    void* first = nullptr;
    void* second = nullptr;
    ASSERT_EQ(aclrtMalloc(&first, 999, kPolicy), ACL_SUCCESS);
    EXPECT_EQ(aclrtMalloc(&second, 2, kPolicy), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(aclrtMallocWithCfg(&second, 1, kPolicy, nullptr), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 1000u);
    EXPECT_EQ(daemon.report().memory_denied, 1u);
    EXPECT_EQ(aclrtFree(first), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 1u);
    EXPECT_EQ(daemon.ledger().peak, 1000u);
    size_t free = 0;
    size_t total = 0;
    aclrtGetMemInfo(ACL_HBM_MEM, &free, &total);
    EXPECT_EQ(free, 999u);
}

TEST(Memory, a_refusal_says_limit_used_and_asked) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 400, kPolicy), ACL_SUCCESS);
    testing::internal::CaptureStderr();
    EXPECT_EQ(aclrtMalloc(&block, 700, kPolicy), ACL_ERROR_RT_MEMORY_ALLOCATION);
    const std::string heard = testing::internal::GetCapturedStderr();
    EXPECT_NE(heard.find("700 bytes asked, 400 of 1000 used"), std::string::npos) << heard;
}

TEST(Memory, of_two_threads_that_race_for_the_last_byte_one_wins) {
    Daemon daemon({.memory_bytes = 1});
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    for (int round = 0; round < 2000; ++round) {
        std::atomic<int> won{0};
        std::barrier start(2);
        void* blocks[2] = {};
        auto race = [&](int me) {
            start.arrive_and_wait();
            won += aclrtMalloc(&blocks[me], 1, kPolicy) == ACL_SUCCESS ? 1 : 0;
        };
        setenv("FLEXNPU_LOG", "error", 1);
        std::thread other(race, 1);
        race(0);
        other.join();
        ASSERT_EQ(won.load(), 1);
        aclrtFree(blocks[0] != nullptr ? blocks[0] : blocks[1]);
    }
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, what_was_not_allocated_here_is_freed_without_a_refund) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 10, kPolicy), ACL_SUCCESS);
    EXPECT_EQ(aclrtFree(malloc(8)), ACL_SUCCESS);
    EXPECT_EQ(aclrtFree(nullptr), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(null_record()->frees, 1u);
    EXPECT_EQ(daemon.memory_used(), 10u);
}

TEST(Memory, an_allocation_that_the_device_refuses_costs_nothing) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    EXPECT_EQ(aclrtMalloc(&block, 0, kPolicy), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, physical_blocks_are_charged_and_placed_on_the_vnpus_device) {
    Daemon daemon({.devices = {3}, .memory_bytes = 1000});
    aclrtPhysicalMemProp prop{};
    prop.location.type = ACL_MEM_LOCATION_TYPE_DEVICE;
    aclrtDrvMemHandle handle = nullptr;
    ASSERT_EQ(aclrtMallocPhysical(&handle, 800, &prop, 0), ACL_SUCCESS);
    EXPECT_EQ(null_record()->device, 3);
    aclrtDrvMemHandle more = nullptr;
    EXPECT_EQ(aclrtMallocPhysical(&more, 201, &prop, 0), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_EQ(aclrtFreePhysical(handle), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, many_threads_leave_an_empty_ledger) {
    Daemon daemon({.memory_bytes = uint64_t{1} << 40});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([] {
            std::vector<void*> blocks(500);
            for (int round = 0; round < 20; ++round) {
                for (size_t i = 0; i < blocks.size(); ++i)
                    ASSERT_EQ(aclrtMalloc(&blocks[i], i + 1, kPolicy), ACL_SUCCESS);
                for (void* block : blocks) ASSERT_EQ(aclrtFree(block), ACL_SUCCESS);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(daemon.memory_used(), 0u);
    EXPECT_GE(daemon.ledger().peak, 500u * 501u / 2);
}

}  // namespace
