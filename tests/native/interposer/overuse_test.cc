// SPDX-License-Identifier: Apache-2.0
// What uses more cores than are granted pays for them with time.
#include "tenancy.h"

namespace {

aclmdlRI capture(Kernel& kernel, aclrtStream stream, uint32_t blocks) {
    aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_RELAXED);
    kernel.launch(stream, blocks);
    aclmdlRI graph = nullptr;
    aclmdlRICaptureEnd(stream, &graph);
    return graph;
}

class Overuse : public testing::Test {
  protected:
    void SetUp() override {
        begin_program();
        stream = make_stream();
    }
    int64_t taken_by(int times, Kernel& kernel, uint32_t blocks) {
        const int64_t start = null_now_ns();
        for (int i = 0; i < times; ++i) kernel.launch(stream, blocks);
        return null_now_ns() - start;
    }
    uint64_t waited_by(int times, Kernel& kernel, uint32_t blocks) {
        const uint64_t before = daemon.report().waited_ns;
        taken_by(times, kernel, blocks);
        return daemon.report().waited_ns - before;
    }
    Daemon daemon;  // 12 cube and 24 vector cores of 24 and 48
    aclrtStream stream = nullptr;
};

TEST_F(Overuse, a_graph_captured_at_more_cores_than_granted_is_slowed_to_its_share) {
    Kernel kernel(5 * kMs);
    const aclmdlRI graph = capture(kernel, stream, 12);
    for (int i = 0; i < 3; ++i) aclmdlRIExecuteAsync(graph, stream);
    EXPECT_EQ(daemon.report().waited_ns, 0u) << "at the cores it was captured at it owes nothing";
    aclrtSynchronizeStream(stream);
    daemon.publish(2, 4, 8);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    const int64_t start = null_now_ns();
    for (int i = 0; i < 6; ++i) aclmdlRIExecuteAsync(graph, stream);
    kernel.launch(stream, 4);
    EXPECT_GE(null_now_ns() - start, 6 * 15 * kMs - 5 * kMs) << "5 ms on 12 cores are 15 ms on 4";
    EXPECT_GE(daemon.report().waited_ns, 50u * kMs);
    EXPECT_EQ(daemon.page().ungoverned, 0u);
}

TEST_F(Overuse, a_kernel_that_lays_out_more_blocks_than_granted_is_slowed) {
    Kernel kernel(5 * kMs);
    const int64_t start = null_now_ns();
    for (int i = 0; i < 6; ++i) kernel.launch(stream, 1000);
    kernel.launch(stream, 24);
    EXPECT_GE(null_now_ns() - start, 6 * 10 * kMs - 5 * kMs) << "no more than the 48 cores of the device count";
    EXPECT_EQ(null_record()->busy_ns, 35u * kMs);
}

TEST_F(Overuse, what_was_tiled_for_more_owes_nothing_until_the_fewer_cores_are_applied) {
    const Tiled tiled = tile();
    daemon.publish(2, 4, 8);
    Kernel kernel(5 * kMs);
    EXPECT_LT(taken_by(6, kernel, 24), 20 * kMs) << "nobody else has those cores yet";
    EXPECT_FALSE(daemon.applied_within(2, 0.1)) << "while one that was tiled for them is not launched";
    launch(tiled);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    EXPECT_GE(waited_by(2, kernel, 24), 10u * kMs) << "5 ms on 24 cores are 15 ms on 8";
}

TEST_F(Overuse, nor_what_was_tiled_for_more_that_was_granted_and_taken_back_before_it_was_applied) {
    const Tiled tiled = tile();
    Kernel kernel(5 * kMs);
    daemon.publish(2, 24, 48);
    kernel.launch(stream, 48);
    EXPECT_FALSE(daemon.applied_within(2, 0.1)) << "while one that was tiled before is not launched";
    daemon.publish(3, 4, 8);
    EXPECT_LT(taken_by(6, kernel, 48), 20 * kMs);
    launch(tiled);
    ASSERT_TRUE(daemon.applied_within(3, 20));
    EXPECT_GE(waited_by(2, kernel, 48), 20u * kMs) << "5 ms on 48 cores are 30 ms on 8";
}

TEST_F(Overuse, time_that_goes_by_pays_a_debt) {
    Kernel kernel(5 * kMs);
    kernel.launch(stream, 48);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const uint64_t before = daemon.report().waited_ns;
    kernel.launch(stream, 12);
    EXPECT_LT(daemon.report().waited_ns - before, 3u * kMs) << "it was paid long ago";
}

TEST_F(Overuse, one_debt_is_bounded) {
    Kernel kernel(60 * kMs);
    daemon.publish(2, 1, 2);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    kernel.launch(stream, 48);
    kernel.launch(stream, 2);
    EXPECT_GE(daemon.report().waited_ns, 100u * kMs);
    EXPECT_LT(daemon.report().waited_ns, 1380u * kMs) << "24 times 60 ms";
}

TEST_F(Overuse, a_blocking_replay_owes_too) {
    Kernel kernel(10 * kMs);
    const aclmdlRI graph = capture(kernel, stream, 12);
    daemon.publish(2, 6, 12);
    ASSERT_TRUE(daemon.applied_within(2, 20));
    const int64_t start = null_now_ns();
    for (int i = 0; i < 3; ++i) aclmdlRIExecute(graph, -1);
    EXPECT_GE(null_now_ns() - start, 50 * kMs) << "three, and what the first two owe";
}

TEST_F(Overuse, in_a_turn_too) {
    Kernel kernel(5 * kMs);
    daemon.turn(open_turn(3));
    const int64_t start = null_now_ns();
    for (int i = 0; i < 6; ++i) kernel.launch(stream, 48);
    kernel.launch(stream, 12);
    EXPECT_GE(null_now_ns() - start, 55 * kMs);
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
}

TEST_F(Overuse, captured_graphs_are_listed_until_they_are_destroyed) {
    Kernel kernel(0);
    const aclmdlRI first = capture(kernel, stream, 12);
    daemon.publish(2, 6, 12);
    const aclmdlRI second = capture(kernel, stream, 6);
    for (int i = 0; i < 3; ++i) aclmdlRIExecuteAsync(second, stream);
    const flexnpu_graph* graphs = daemon.page().graphs;
    EXPECT_EQ(graphs[0].captured, (uint64_t{1} << 32 | 24u << 16 | 12u));
    EXPECT_EQ(graphs[0].replays, 0u);
    EXPECT_EQ(graphs[1].captured, (uint64_t{1} << 32 | 12u << 16 | 6u));
    EXPECT_EQ(graphs[1].replays, 3u);
    aclmdlRIDestroy(first);
    aclmdlRIDestroy(second);
    EXPECT_EQ(graphs[0].captured, 0u);
    EXPECT_EQ(graphs[1].captured, 0u);
}

TEST_F(Overuse, more_graphs_than_the_page_lists_are_governed_all_the_same) {
    Kernel kernel(0);
    aclmdlRI last = nullptr;
    for (uint32_t i = 0; i < FLEXNPU_GRAPHS + 8; ++i) last = capture(kernel, stream, 12);
    aclmdlRIExecuteAsync(last, stream);
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_GRAPH], 1u);
    aclmdlRIDestroy(last);
    EXPECT_NE(daemon.page().graphs[FLEXNPU_GRAPHS - 1].captured, 0u);
}

}  // namespace
