// SPDX-License-Identifier: Apache-2.0
//
// Communicators through the public calls; the ranks are threads of this process.
#include <flexnpu_abi/acl_rt.h>
#include <flexnpu_abi/hccl.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Rank {
    uint32_t rank;
    HcclComm comm;
    aclrtStream stream;
};

class Hccl : public ::testing::Test {
  protected:
    Hccl() {
        EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
        EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
        setenv("HCCL_CONNECT_TIMEOUT", "20", 1);
        setenv("HCCL_EXEC_TIMEOUT", "2", 1);
    }

    static void on_ranks(uint32_t ranks, const std::function<void(const Rank&)>& body) {
        HcclRootInfo root{};
        ASSERT_EQ(HcclGetRootInfo(&root), HCCL_SUCCESS);
        std::vector<std::thread> threads;
        for (uint32_t index = 0; index < ranks; ++index) {
            threads.emplace_back([&, index] {
                Rank own{index, nullptr, nullptr};
                ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
                ASSERT_EQ(aclrtCreateStream(&own.stream), ACL_SUCCESS);
                ASSERT_EQ(HcclCommInitRootInfo(ranks, &root, index, &own.comm), HCCL_SUCCESS) << aclGetRecentErrMsg();
                body(own);
                EXPECT_EQ(HcclCommDestroy(own.comm), HCCL_SUCCESS);
                EXPECT_EQ(aclrtDestroyStream(own.stream), ACL_SUCCESS);
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }
};

}  // namespace

TEST_F(Hccl, many_reductions_in_a_row_are_each_the_sum) {
    on_ranks(4, [](const Rank& own) {
        for (int round = 0; round < 200; ++round) {
            std::vector<float> values(1 + round * 7, static_cast<float>(own.rank + 1));
            ASSERT_EQ(HcclAllReduce(values.data(), values.data(), values.size(), HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM,
                                    own.comm, own.stream),
                      HCCL_SUCCESS);
            ASSERT_EQ(aclrtSynchronizeStream(own.stream), ACL_SUCCESS);
            EXPECT_EQ(values.front(), 10.0F);
            EXPECT_EQ(values.back(), 10.0F);
        }
    });
}

TEST_F(Hccl, what_is_larger_than_a_pipe_goes_round_a_ring_whole) {
    constexpr size_t kCount = 3'000'001;
    on_ranks(3, [](const Rank& own) {
        const uint32_t next = (own.rank + 1) % 3;
        const uint32_t before = (own.rank + 2) % 3;
        std::vector<uint32_t> out(kCount);
        std::vector<uint32_t> in(kCount);
        for (size_t i = 0; i < kCount; ++i) {
            out[i] = static_cast<uint32_t>(i * 2654435761U) + own.rank;
        }
        HcclSendRecvItem items[] = {{HCCL_SEND, out.data(), kCount, HCCL_DATA_TYPE_INT32, next},
                                    {HCCL_RECV, in.data(), kCount, HCCL_DATA_TYPE_INT32, before}};
        ASSERT_EQ(HcclBatchSendRecv(items, 2, own.comm, own.stream), HCCL_SUCCESS);
        ASSERT_EQ(aclrtSynchronizeStream(own.stream), ACL_SUCCESS);
        for (size_t i = 0; i < kCount; i += 997) {
            ASSERT_EQ(in[i], static_cast<uint32_t>(i * 2654435761U) + before);
        }
        EXPECT_EQ(in.back(), out.back() - own.rank + before);
    });
}

TEST_F(Hccl, a_rank_that_stays_away_is_an_error_and_the_communicator_stays_failed) {
    on_ranks(2, [](const Rank& own) {
        float value = 1;
        if (own.rank == 1) {
            std::this_thread::sleep_for(std::chrono::seconds(3));
            return;
        }
        const auto reduce = [&] {
            return HcclAllReduce(&value, &value, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, own.comm, own.stream);
        };
        ASSERT_EQ(reduce(), HCCL_SUCCESS);
        EXPECT_NE(aclrtSynchronizeStream(own.stream), ACL_SUCCESS);
        EXPECT_NE(std::string(aclGetRecentErrMsg()).find("rank 1 did not come within 2 s"), std::string::npos);
        HcclResult error = HCCL_SUCCESS;
        ASSERT_EQ(HcclGetCommAsyncError(own.comm, &error), HCCL_SUCCESS);
        EXPECT_EQ(error, HCCL_E_TIMEOUT);
        EXPECT_EQ(reduce(), HCCL_E_TIMEOUT);
    });
}

TEST_F(Hccl, a_rank_that_destroys_its_communicator_ends_the_others_wait) {
    on_ranks(3, [](const Rank& own) {
        float value = 1;
        if (own.rank == 2) {
            return;
        }
        ASSERT_EQ(HcclAllReduce(&value, &value, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, own.comm, own.stream),
                  HCCL_SUCCESS);
        EXPECT_NE(aclrtSynchronizeStream(own.stream), ACL_SUCCESS);
        HcclResult error = HCCL_SUCCESS;
        ASSERT_EQ(HcclGetCommAsyncError(own.comm, &error), HCCL_SUCCESS);
        EXPECT_EQ(error, HCCL_E_REMOTE);
    });
}

TEST_F(Hccl, wrong_arguments_are_refused_by_name) {
    on_ranks(2, [](const Rank& own) {
        float value = 1;
        const auto says = [](const char* part) {
            return std::string(aclGetRecentErrMsg()).find(part) != std::string::npos;
        };
        EXPECT_EQ(HcclBroadcast(&value, 1, HCCL_DATA_TYPE_FP32, 2, own.comm, own.stream), HCCL_E_PARA);
        EXPECT_TRUE(says("root 2, the communicator has ranks 0 to 1"));
        EXPECT_EQ(
            HcclAllReduce(&value, &value, 1, static_cast<HcclDataType>(99), HCCL_REDUCE_SUM, own.comm, own.stream),
            HCCL_E_PARA);
        EXPECT_TRUE(says("data type 99"));
        EXPECT_EQ(HcclAllReduce(nullptr, &value, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, own.comm, own.stream),
                  HCCL_E_PTR);
        EXPECT_TRUE(says("a buffer is null"));
        EXPECT_EQ(HcclAllReduce(&value, &value, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, nullptr, own.stream),
                  HCCL_E_PTR);
        EXPECT_TRUE(says("comm is null"));
    });
}

TEST_F(Hccl, ranks_out_of_range_and_foreign_roots_make_no_communicator) {
    HcclRootInfo root{};
    HcclComm comm = nullptr;
    EXPECT_EQ(HcclCommInitRootInfo(2, &root, 0, &comm), HCCL_E_PARA);
    ASSERT_EQ(HcclGetRootInfo(&root), HCCL_SUCCESS);
    EXPECT_EQ(HcclCommInitRootInfo(2, &root, 2, &comm), HCCL_E_PARA);
    EXPECT_EQ(HcclCommInitRootInfo(65, &root, 0, &comm), HCCL_E_PARA);
    EXPECT_EQ(comm, nullptr);
}
