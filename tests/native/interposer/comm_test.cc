// SPDX-License-Identifier: Apache-2.0
// Communicators: their buffers are in the ledger, and no two ranks of one share a device.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "nullacl.h"

namespace {

constexpr uint64_t kMb = 1 << 20;
constexpr uint64_t kBuffers = 400 * kMb;  // HCCL's default: two of 200

struct Rank {
    HcclComm comm = nullptr;
    HcclResult join(const HcclRootInfo& root, uint32_t rank = 0) { return HcclCommInitRootInfo(2, &root, rank, &comm); }
    HcclResult reduce() {
        return HcclAllReduce(nullptr, nullptr, 0, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, nullptr);
    }
};

HcclRootInfo new_root() {
    HcclRootInfo root{};
    HcclGetRootInfo(&root);
    root.internal[1] = static_cast<char>(getpid());  // the machine has one set of names
    root.internal[2] = static_cast<char>(getpid() >> 8);
    root.internal[3] = static_cast<char>(getpid() >> 16);
    return root;
}

HcclCommConfig buffers_of(uint32_t mb) {
    HcclCommConfig config{};
    config.hcclBufferSize = mb;
    return config;
}

TEST(Communicators, their_buffers_are_charged_when_they_are_made_and_only_once) {
    Daemon daemon({.memory_bytes = 1000 * kMb});
    Rank rank;
    ASSERT_EQ(rank.join(new_root()), HCCL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), kBuffers);
    ASSERT_EQ(rank.reduce(), HCCL_SUCCESS) << "takes the second buffer";
    EXPECT_EQ(null_record()->allocations, 2u);
    EXPECT_EQ(daemon.memory_used(), kBuffers);
    ASSERT_EQ(HcclCommDestroy(rank.comm), HCCL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), 0u);
}

TEST(Communicators, one_whose_buffers_do_not_fit_is_refused_whole) {
    Daemon daemon({.memory_bytes = kBuffers - 1});
    Rank rank;
    testing::internal::CaptureStderr();
    EXPECT_EQ(rank.join(new_root()), HCCL_E_OOM);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("419430400 bytes asked, 0 of 419430399"), std::string::npos);
    EXPECT_EQ(null_record()->allocations, 0u);
    EXPECT_EQ(daemon.memory_used(), 0u);
    EXPECT_EQ(daemon.report().memory_denied, 1u);
}

TEST(Communicators, the_size_is_the_configurations_or_the_environments) {
    Daemon daemon({.memory_bytes = 1000 * kMb});
    setenv("HCCL_BUFFSIZE", "50", 1);
    const HcclRootInfo roots[] = {new_root(), new_root()};
    const HcclCommConfig config = buffers_of(20);
    HcclComm small = nullptr;
    ASSERT_EQ(HcclCommInitRootInfoConfig(1, &roots[0], 0, &config, &small), HCCL_SUCCESS);
    const uint64_t with_config = daemon.memory_used();
    EXPECT_GE(with_config, 40 * kMb);
    const HcclCommConfig unset = buffers_of(0xffffffff);
    HcclComm usual = nullptr;
    ASSERT_EQ(HcclCommInitRootInfoConfig(1, &roots[1], 0, &unset, &usual), HCCL_SUCCESS);
    EXPECT_GE(daemon.memory_used(), with_config + 100 * kMb);
}

TEST(Communicators, two_ranks_of_one_on_one_device_are_refused) {
    Daemon daemon({.devices = {1, 2}, .memory_bytes = 2000 * kMb});
    const HcclRootInfo root = new_root();
    Rank ranks[3];
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(ranks[0].join(root, 0), HCCL_SUCCESS);
    testing::internal::CaptureStderr();
    EXPECT_EQ(ranks[1].join(root, 1), HCCL_E_PARA);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("device 1 has a rank of this communicator already"),
              std::string::npos);
    EXPECT_EQ(daemon.memory_used(0), kBuffers) << "the refused one is charged nothing";
    EXPECT_EQ(ranks[2].join(new_root()), HCCL_SUCCESS) << "another communicator";
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    EXPECT_EQ(ranks[1].join(root, 1), HCCL_SUCCESS);
    ASSERT_EQ(HcclCommDestroy(ranks[0].comm), HCCL_SUCCESS);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    EXPECT_EQ(ranks[0].join(root, 0), HCCL_SUCCESS) << "its place is free again";
}

TEST(Communicators, two_ranks_on_one_device_are_refused_across_processes_and_a_dead_one_counts_no_more) {
    Daemon daemon({.memory_bytes = 2000 * kMb});
    const HcclRootInfo root = new_root();
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t other = fork();
    if (other == 0) {
        Rank rank;
        const char joined = rank.join(root, 1) == HCCL_SUCCESS ? 1 : 0;
        if (write(ready[1], &joined, 1) != 1) _exit(1);
        for (;;) pause();
    }
    char joined = 0;
    ASSERT_EQ(read(ready[0], &joined, 1), 1);
    ASSERT_EQ(joined, 1);
    Rank rank;
    EXPECT_EQ(rank.join(root, 0), HCCL_E_PARA);
    kill(other, SIGKILL);
    waitpid(other, nullptr, 0);
    EXPECT_EQ(rank.join(root, 0), HCCL_SUCCESS);
}

TEST(Communicators, a_forks_child_does_not_hold_its_parents_place) {
    Daemon daemon({.memory_bytes = 2000 * kMb});
    const HcclRootInfo root = new_root();
    Rank rank;
    ASSERT_EQ(rank.join(root), HCCL_SUCCESS);
    const pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    ASSERT_EQ(HcclCommDestroy(rank.comm), HCCL_SUCCESS);
    EXPECT_TRUE(eventually([&] { return rank.join(root) == HCCL_SUCCESS; }));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

TEST(Communicators, one_over_all_devices_is_charged_on_each_all_or_nothing) {
    Daemon daemon({.devices = {3, 1}, .memory_bytes = kBuffers});
    int32_t devices[] = {0, 1};
    HcclComm comms[2] = {};
    daemon.limit_memory(kBuffers - 1, 1);
    EXPECT_EQ(HcclCommInitAll(2, devices, comms), HCCL_E_OOM);
    EXPECT_EQ(daemon.memory_used(0), 0u);
    daemon.limit_memory(kBuffers, 1);
    ASSERT_EQ(HcclCommInitAll(2, devices, comms), HCCL_SUCCESS);
    EXPECT_EQ(null_places()->ranks[0], 3);
    EXPECT_EQ(null_places()->ranks[1], 1);
    EXPECT_EQ(daemon.memory_used(0), kBuffers);
    EXPECT_EQ(daemon.memory_used(1), kBuffers);
    for (HcclComm comm : comms) EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(0) + daemon.memory_used(1), 0u);
    int32_t twice[] = {1, 1};
    EXPECT_EQ(HcclCommInitAll(2, twice, comms), HCCL_E_PARA);
    int32_t foreign[] = {0, 2};
    EXPECT_EQ(HcclCommInitAll(2, foreign, comms), HCCL_E_PARA);
}

TEST(Communicators, a_part_of_one_is_a_communicator_of_its_own) {
    Daemon daemon({.memory_bytes = 2000 * kMb});
    Rank whole;
    ASSERT_EQ(whole.join(new_root()), HCCL_SUCCESS);
    uint32_t ranks[] = {0, 1};
    HcclCommConfig config = buffers_of(100);
    HcclComm part = nullptr;
    ASSERT_EQ(HcclCreateSubCommConfig(&whole.comm, 2, ranks, 7, 0, &config, &part), HCCL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), kBuffers + 200 * kMb);
    HcclComm again = nullptr;
    EXPECT_EQ(HcclCreateSubCommConfig(&whole.comm, 2, ranks, 7, 1, &config, &again), HCCL_E_PARA);
    EXPECT_EQ(HcclCreateSubCommConfig(&whole.comm, 0, nullptr, 0, 0, nullptr, &again), HCCL_SUCCESS);
    EXPECT_EQ(again, nullptr) << "this process has no rank in it";
    ASSERT_EQ(HcclCommDestroy(part), HCCL_SUCCESS);
    EXPECT_EQ(daemon.memory_used(), kBuffers);
}

}  // namespace
