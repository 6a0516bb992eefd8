// SPDX-License-Identifier: Apache-2.0
// A change of quota: what the next operator tiles by, and when the tenant says that the change is applied.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "daemon.h"
#include "nullacl.h"
#include "tenancy.h"

namespace {

// As torch_npu calls an operator with the hash of its arguments.
uint32_t run_cached(uint64_t hash) {
    Tiled op;
    SetPTAHashKey(hash);
    op.executor = PTAGetExecCache(hash, &op.size);
    return launch(op.executor != nullptr ? op : tile());
}

uint32_t run_cached(const char* arguments) {
    uint8_t key[64] = {};
    const size_t length = strlen(arguments);
    memcpy(key, arguments, length);
    Tiled op;
    SetPTACacheHashKey(key, length);
    op.executor = PTAFindExecCache(key, length, &op.size);
    return launch(op.executor != nullptr ? op : tile());
}

class Applied : public testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS); }
    // Long against a wake-up, short against the two seconds after which an executor is given up.
    bool stays_unapplied(uint32_t revision) { return !daemon.applied_within(revision, 0.3); }
    Daemon daemon;
};

TEST_F(Applied, an_idle_tenant_applies_at_once) {
    EXPECT_TRUE(daemon.applied_within(1, 20));
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(daemon.applied_within(2, 20));
    EXPECT_EQ(daemon.report().seen_grant, 2u);
    EXPECT_NE(daemon.report().applied_ns, 0u);
}

TEST_F(Applied, a_cached_executor_is_tiled_anew_after_a_change) {
    EXPECT_EQ(run_cached(42), 12u);
    EXPECT_EQ(run_cached(42), 12u);
    EXPECT_EQ(null_record()->tilings, 1u) << "the second call came from the cache";
    EXPECT_EQ(run_cached("shape"), 12u);
    EXPECT_EQ(run_cached("shape"), 12u);
    EXPECT_EQ(null_record()->tilings, 2u);
    daemon.publish(2, 6, 12);
    EXPECT_EQ(run_cached(42), 6u);
    EXPECT_EQ(run_cached("shape"), 6u);
    EXPECT_EQ(null_record()->tilings, 4u);
    EXPECT_EQ(daemon.page().tiled, 6u) << "cache hits are tiled operators too";
    EXPECT_EQ(daemon.page().launched, 6u);
}

TEST_F(Applied, an_executor_is_kept_for_the_cores_that_it_was_tiled_for_though_its_key_was_given_before) {
    uint8_t bytes[] = {1, 2, 3};
    uint64_t size = 0;
    const auto find = [&] { return PTAFindExecCache(bytes, sizeof bytes, &size); };
    SetPTAHashKey(42);
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    EXPECT_EQ(launch(tile()), 6u);
    SetPTACacheHashKey(bytes, sizeof bytes);
    daemon.publish(3, 12, 24);
    ASSERT_TRUE(daemon.applied_within(3, 20));
    EXPECT_EQ(launch(tile()), 12u);
    EXPECT_EQ(PTAGetExecCache(42, &size), nullptr) << "that one is for 6 cores";
    aclOpExecutor* const twelve = find();
    ASSERT_NE(twelve, nullptr);
    launch({0, twelve});
    daemon.publish(4, 6, 12);
    ASSERT_TRUE(daemon.applied_within(4, 20));
    EXPECT_EQ(find(), nullptr) << "that one is for 12 cores";
    EXPECT_EQ(run_cached(42), 6u);
    EXPECT_EQ(null_record()->tilings, 2u) << "cores are back, and with them what was tiled for them";
}

TEST_F(Applied, a_key_that_means_do_not_keep_stays_so) {
    SetPTAHashKey(0);
    launch(tile());
    SetPTACacheHashKey(nullptr, 0);
    launch(tile());
    uint64_t size = 0;
    EXPECT_EQ(PTAGetExecCache(0, &size), nullptr);
}

TEST_F(Applied, only_after_the_old_executor_was_launched) {
    const Tiled old = tile();
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(stays_unapplied(2));
    EXPECT_EQ(launch(tile()), 6u) << "a newer one launched does not count for the old one";
    EXPECT_TRUE(stays_unapplied(2));
    std::thread queue([&] { EXPECT_EQ(launch(old), 12u); });
    queue.join();
    EXPECT_TRUE(daemon.applied_within(2, 20));
}

TEST_F(Applied, only_after_every_hit_of_a_cached_executor_was_launched) {
    run_cached(7);
    Tiled first;
    first.executor = PTAGetExecCache(7, &first.size);
    const Tiled second = {first.size, PTAGetExecCache(7, &first.size)};
    ASSERT_EQ(first.executor, second.executor);
    daemon.publish(2, 6, 12);
    launch(first);
    EXPECT_TRUE(stays_unapplied(2));
    launch(second);
    EXPECT_TRUE(daemon.applied_within(2, 20));
}

TEST_F(Applied, only_after_an_operator_of_unknown_signature_was_launched) {
    Tiled old;
    ASSERT_EQ(aclnnAddRmsNormCastGetWorkspaceSize(nullptr, nullptr, &old.size, &old.executor), ACL_SUCCESS);
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(stays_unapplied(2));
    ASSERT_EQ(aclnnAddRmsNormCast(nullptr, old.size, old.executor, nullptr), ACL_SUCCESS);
    EXPECT_TRUE(daemon.applied_within(2, 20));
}

TEST_F(Applied, hits_of_an_operator_of_unknown_signature_are_over_when_they_were_launched) {
    uint8_t key[] = "shape";
    Tiled op;
    SetPTACacheHashKey(key, sizeof key);
    ASSERT_EQ(aclnnAddRmsNormCastGetWorkspaceSize(nullptr, nullptr, &op.size, &op.executor), ACL_SUCCESS);
    ASSERT_EQ(aclnnAddRmsNormCast(nullptr, op.size, op.executor, nullptr), ACL_SUCCESS);
    for (int hit = 0; hit < 3; ++hit) {
        ASSERT_EQ(PTAFindExecCache(key, sizeof key, &op.size), op.executor);
        ASSERT_EQ(aclnnAddRmsNormCast(nullptr, op.size, op.executor, nullptr), ACL_SUCCESS);
    }
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(daemon.applied_within(2, 20));
    EXPECT_EQ(daemon.page().ungoverned, 0u) << "none was given up";
}

TEST_F(Applied, an_executor_that_is_destroyed_is_waited_for_no_longer) {
    const Tiled old = tile();
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(stays_unapplied(2));
    aclDestroyAclOpExecutor(old.executor);
    EXPECT_TRUE(daemon.applied_within(2, 20));
    EXPECT_EQ(daemon.page().ungoverned, 0u);
}

TEST_F(Applied, an_executor_that_is_never_launched_holds_a_change_up_only_for_a_while) {
    const Tiled forgotten = tile();
    daemon.publish(2, 6, 12);
    EXPECT_TRUE(daemon.applied_within(2, 30));
    EXPECT_EQ(daemon.page().ungoverned, 1u);
    launch(forgotten);
    const Tiled old = tile();
    daemon.publish(3, 8, 16);
    EXPECT_TRUE(stays_unapplied(3)) << "the late launch did not stand for another executor";
    launch(old);
    EXPECT_TRUE(daemon.applied_within(3, 20));
}

TEST_F(Applied, a_busy_tenant_applies_every_change) {
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        for (uint64_t i = 0; !stop; ++i) run_cached(1 + i % 8);
    });
    std::thread busier([&] {
        while (!stop) launch(tile());
    });
    for (uint32_t revision = 2; revision < 200; ++revision) {
        daemon.publish(revision, 1 + revision % 12, 24);
        ASSERT_TRUE(daemon.applied_within(revision, 20)) << revision;
    }
    stop = true;
    busy.join();
    busier.join();
    EXPECT_EQ(daemon.page().ungoverned, 0u);
}

TEST_F(Applied, no_old_tiling_is_launched_after_applied) {
    std::atomic<uint32_t> applied{1};
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        for (uint64_t i = 0; !stop; ++i) {
            const uint32_t before = applied.load();
            const uint32_t blocks = run_cached(1 + i % 4);
            ASSERT_GE(blocks, before) << "cores only grow in this test, one with each revision";
        }
    });
    for (uint32_t revision = 2; revision < 20; ++revision) {
        daemon.publish(revision, revision, revision * 2);
        ASSERT_TRUE(daemon.applied_within(revision, 20));
        applied = revision;
    }
    stop = true;
    busy.join();
}

uint64_t cleared(Daemon& daemon) { return __atomic_load_n(&daemon.report().cleared_grant, __ATOMIC_ACQUIRE); }

class Cleared : public testing::Test {
  protected:
    void SetUp() override {
        begin_program();
        ASSERT_TRUE(daemon.applied_within(1, 20));
    }
    Daemon daemon;
};

TEST_F(Cleared, fewer_cores_only_once_the_device_is_done_with_what_was_launched_for_more) {
    Kernel kernel(150 * kMs);
    kernel.launch();
    const int64_t end = null_end_ns();
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(daemon.applied_within(2, 20)) << "that waits for nothing";
    EXPECT_LT(cleared(daemon), 2u);
    const uint32_t bell = daemon.report().bell;
    ASSERT_TRUE(eventually([&] { return cleared(daemon) == 2; }));
    EXPECT_GE(null_now_ns(), end);
    EXPECT_TRUE(eventually([&] { return daemon.report().bell != bell; })) << "it says so";
    EXPECT_EQ(null_record()->misused, 0u) << "the thread that looks works in the program's context";
}

TEST_F(Cleared, what_comes_later_is_not_waited_for) {
    Kernel kernel(100 * kMs);
    kernel.launch();
    const int64_t end = null_end_ns();
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    for (int i = 0; i < 30; ++i) kernel.launch();
    ASSERT_TRUE(eventually([&] { return cleared(daemon) == 2; }));
    EXPECT_GE(null_now_ns(), end);
    EXPECT_LT(null_now_ns(), null_end_ns() - 1000 * kMs);
}

TEST_F(Cleared, more_cores_at_once) {
    Kernel kernel(10'000 * kMs);
    kernel.launch();
    daemon.publish(2, 16, 32);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    EXPECT_EQ(cleared(daemon), 2u);
}

TEST_F(Cleared, a_stream_that_was_used_is_followed_though_another_one_was_used_later) {
    Kernel slow(150 * kMs), quick(0);
    const aclrtStream first = make_stream(), second = make_stream();
    slow.launch(first);
    const int64_t end = null_end_ns();
    quick.launch(second);
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(eventually([&] { return cleared(daemon) == 2; }));
    EXPECT_GE(null_now_ns(), end);
}

TEST_F(Cleared, a_destroyed_stream_and_a_capture_are_left_alone) {
    Kernel kernel(kMs);
    const aclrtStream stream = make_stream();
    kernel.launch(stream);
    aclrtDestroyStream(stream);
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(eventually([&] { return cleared(daemon) == 2; }));
    kernel.launch();
    ASSERT_EQ(aclmdlRICaptureBegin(nullptr, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL), ACL_SUCCESS);
    daemon.publish(3, 4, 8);
    ASSERT_TRUE(eventually([&] { return cleared(daemon) == 3; }));
    aclmdlRI graph = nullptr;
    ASSERT_EQ(aclmdlRICaptureEnd(nullptr, &graph), ACL_SUCCESS);
    EXPECT_EQ(null_record()->captured, 0u);
    EXPECT_EQ(null_record()->misused, 0u);
}

}  // namespace
