// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

TEST(Memory, a_block_that_the_device_does_not_take_back_stays_charged) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&block, 10, kPolicy), ACL_SUCCESS);
    null_places()->refuse_frees = true;
    EXPECT_EQ(aclrtFree(block), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(daemon.memory_used(), 10u);
    null_places()->refuse_frees = false;
    EXPECT_EQ(aclrtFree(block), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, a_second_free_and_one_into_the_middle_are_the_devices_business_and_refund_nothing) {
    Daemon daemon({.memory_bytes = 1000});
    void* kept = nullptr;
    void* block = nullptr;
    ASSERT_EQ(aclrtMalloc(&kept, 7, kPolicy), ACL_SUCCESS);
    ASSERT_EQ(aclrtMalloc(&block, 10, kPolicy), ACL_SUCCESS);
    ASSERT_EQ(aclrtFree(block), ACL_SUCCESS);
    null_places()->refuse_frees = true;  // as a device refuses both
    EXPECT_EQ(aclrtFree(block), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(aclrtFree(static_cast<char*>(kept) + 1), ACL_ERROR_RT_PARAM_INVALID);
    EXPECT_EQ(daemon.memory_used(), 7u);
}

TEST(Memory, managed_memory_is_charged) {
    Daemon daemon({.memory_bytes = 1000});
    void* block = nullptr;
    EXPECT_EQ(aclrtMemAllocManaged(&block, 1001, 0), ACL_ERROR_RT_MEMORY_ALLOCATION);
    ASSERT_EQ(aclrtMemAllocManaged(&block, 900, 0), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 900u);
    EXPECT_EQ(aclrtFree(block), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

struct Physical {
    aclrtDrvMemHandle handle = nullptr;
    explicit Physical(size_t bytes, uint32_t device = 0) {
        aclrtPhysicalMemProp prop{};
        prop.location = {device, ACL_MEM_LOCATION_TYPE_DEVICE};
        aclrtMallocPhysical(&handle, bytes, &prop, 0);
    }
};

TEST(Memory, physical_memory_costs_until_its_last_mapping_is_gone) {
    Daemon daemon({.memory_bytes = 1000});
    char addresses[2] = {};
    const Physical block(600);
    ASSERT_EQ(aclrtMapMem(&addresses[0], 600, 0, block.handle, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtMapMem(&addresses[1], 600, 0, block.handle, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtFreePhysical(block.handle), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 600u) << "it is still mapped";
    ASSERT_EQ(aclrtUnmapMem(&addresses[0]), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 600u);
    ASSERT_EQ(aclrtUnmapMem(&addresses[1]), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
    ASSERT_EQ(aclrtUnmapMem(&addresses[1]), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u) << "nothing is refunded twice";
}

TEST(Memory, a_retained_handle_holds_physical_memory_too) {
    Daemon daemon({.memory_bytes = 1000});
    char address = 0;
    const Physical block(600);
    aclrtDrvMemHandle retained = nullptr;
    ASSERT_EQ(aclrtMapMem(&address, 600, 0, block.handle, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemRetainAllocationHandle(&address, &retained), ACL_SUCCESS);
    aclrtUnmapMem(&address);
    aclrtFreePhysical(block.handle);
    EXPECT_EQ(daemon.memory_used(), 600u);
    aclrtFreePhysical(retained);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, a_physical_block_that_the_device_does_not_take_back_stays_charged) {
    Daemon daemon({.memory_bytes = 1000});
    const Physical block(600);
    null_places()->refuse_frees = true;
    EXPECT_NE(aclrtFreePhysical(block.handle), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 600u);
    null_places()->refuse_frees = false;
    EXPECT_EQ(aclrtFreePhysical(block.handle), ACL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

struct Race {
    uint32_t came[2];
    uint32_t result[2];  // round * 2 + won
    uint32_t left[2];
};

void wait_for(const uint32_t& word, uint32_t value) {
    while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) < value) sched_yield();
}

// False: both had the last byte, or none.
bool race(Race* race, uint32_t me, uint32_t rounds) {
    for (uint32_t round = 1; round <= rounds; ++round) {
        __atomic_store_n(&race->came[me], round, __ATOMIC_SEQ_CST);
        wait_for(race->came[1 - me], round);
        void* block = nullptr;
        const uint32_t won = aclrtMalloc(&block, 1, kPolicy) == ACL_SUCCESS ? 1 : 0;
        __atomic_store_n(&race->result[me], round * 2 + won, __ATOMIC_SEQ_CST);
        wait_for(race->result[1 - me], round * 2);
        if ((__atomic_load_n(&race->result[1 - me], __ATOMIC_SEQ_CST) & 1) == won) return false;
        if (won != 0) aclrtFree(block);
        __atomic_store_n(&race->left[me], round, __ATOMIC_SEQ_CST);
        wait_for(race->left[1 - me], round);
    }
    return true;
}

TEST(Memory, of_two_processes_that_race_for_the_last_byte_one_wins) {
    setenv("FLEXNPU_LOG", "error", 1);
    Daemon daemon({.memory_bytes = 1});
    auto* shared =
        static_cast<Race*>(mmap(nullptr, sizeof(Race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(shared, MAP_FAILED);
    const pid_t other = fork();
    if (other == 0) _exit(aclInit(nullptr) == ACL_SUCCESS && race(shared, 1, 2000) ? 0 : 1);
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_TRUE(race(shared, 0, 2000));
    int status = -1;
    waitpid(other, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Memory, a_process_may_fork_while_its_threads_allocate) {
    Daemon daemon({.memory_bytes = uint64_t{1} << 40});
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
            void* block = nullptr;
            while (!stop) {
                ASSERT_EQ(aclrtMalloc(&block, 8, kPolicy), ACL_SUCCESS);
                ASSERT_EQ(aclrtFree(block), ACL_SUCCESS);
            }
        });
    }
    for (int i = 0; i < 50; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            void* block = nullptr;
            const bool fine = aclrtMalloc(&block, 8, kPolicy) == ACL_SUCCESS && aclrtFree(block) == ACL_SUCCESS;
            _exit(fine ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        ASSERT_EQ(status, 0) << i;
    }
    stop = true;
    for (auto& thread : threads) thread.join();
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
