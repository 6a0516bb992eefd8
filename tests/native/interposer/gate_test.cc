// SPDX-License-Identifier: Apache-2.0
// Turns, as a program meets them: when its launches are held, what is in flight, and when a turn of it is over.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tenancy.h"
#include "timeline.h"

namespace {

class Turns : public testing::Test {
  protected:
    void SetUp() override { begin_program(); }
    Daemon daemon{{.turn = open_turn(3), .in_flight_ns = 4 * kMs}};
};

TEST_F(Turns, a_closed_turn_holds_launches_and_an_opened_one_lets_them_go) {
    Kernel kernel(kMs / 10);
    kernel.launch();
    EXPECT_EQ(daemon.report().turn_entered, 3u);
    daemon.turn(closed_turn(3));
    const uint32_t bell = daemon.report().bell;
    std::thread held = launch_elsewhere(kernel);
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; }));
    EXPECT_NE(daemon.report().bell, bell) << "it says so";
    a_while();
    EXPECT_EQ(kernels(), 1u);
    daemon.turn(open_turn(4));
    held.join();
    EXPECT_EQ(kernels(), 2u);
    EXPECT_EQ(daemon.report().turn_entered, 4u);
    EXPECT_EQ(waiting(daemon), 0u);
    const uint64_t waited_ns = daemon.report().waited_ns;
    EXPECT_GE(waited_ns, static_cast<uint64_t>(20 * kMs));
    for (uint32_t i = 0; i < FLEXNPU_WAITS; ++i)
        EXPECT_EQ(daemon.page().waits[i], i == flexnpu_wait_bucket(waited_ns) ? 1u : 0u) << "one wait, of that length";
}

TEST_F(Turns, a_closed_turn_is_drained_only_after_the_device_is_done) {
    Kernel kernel(150 * kMs);
    kernel.launch();
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end);
    EXPECT_EQ(null_record()->misused, 0u) << "the thread that waits works in the program's context";
}

TEST_F(Turns, a_turn_of_known_length_is_given_up_a_moment_before_the_device_is_done) {
    Kernel kernel(30 * kMs);
    kernel.launch();
    aclrtSynchronizeStream(nullptr);
    kernel.launch();
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end - kMs);
    EXPECT_TRUE(eventually([&] { return daemon.report().busy_ns >= 58u * kMs; })) << "all of it is measured";
}

TEST_F(Turns, a_turn_behind_the_work_of_others_is_over_after_its_own_and_takes_no_more_than_that) {
    Kernel kernel(kMs);
    for (int i = 0; i < 2; ++i) {
        kernel.launch();
        aclrtSynchronizeStream(nullptr);
    }
    daemon.turn(closed_turn(3));
    ASSERT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    const uint64_t before = daemon.report().busy_ns;
    aclrtStream others = make_stream();
    null_occupy(300 * kMs, others);
    const int64_t theirs = null_end_ns();
    daemon.turn(open_turn(4, FLEXNPU_TURN_BEHIND | FLEXNPU_TURN_CONTENDED));
    kernel.launch();
    daemon.turn(flexnpu_pack_turn(4, FLEXNPU_TURN_BEHIND));
    while (null_now_ns() < theirs - 50 * kMs) {
        EXPECT_EQ(drained(daemon), 3u) << "the device has not come to it yet";
        a_while();
    }
    aclrtSynchronizeStream(others);
    daemon.turn(closed_turn(4));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 4; }));
    EXPECT_TRUE(eventually([&] { return daemon.report().busy_ns > before; }));
    EXPECT_LE(daemon.report().busy_ns - before, 2u * kMs) << "and not what it waited for";
}

TEST_F(Turns, a_turn_behind_the_work_of_others_that_ran_beside_it_is_over_with_its_own) {
    Kernel kernel(kMs);
    daemon.turn(open_turn(4, FLEXNPU_TURN_BEHIND | FLEXNPU_TURN_CONTENDED));
    kernel.launch();
    daemon.turn(flexnpu_pack_turn(4, FLEXNPU_TURN_BEHIND));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 4; })) << "though theirs is not";
}

TEST_F(Turns, a_contended_holder_does_not_sleep_over_the_end_of_its_turn_while_its_operator_runs) {
    Kernel kernel(300 * kMs);
    daemon.turn(open_turn(3, FLEXNPU_TURN_CONTENDED));
    kernel.launch();
    const int64_t end = null_end_ns();
    while (null_now_ns() < end - 200 * kMs) a_while();
    EXPECT_EQ(null_record()->waits, 0u) << "a wait for the operator's event ends with the operator";
}

TEST_F(Turns, all_streams_are_drained) {
    Kernel kernel(10 * kMs);
    aclrtStream streams[] = {make_stream(), make_stream(), make_stream()};
    for (int round = 0; round < 3; ++round) {
        for (aclrtStream stream : streams) kernel.launch(stream);
    }
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end);
}

TEST_F(Turns, what_is_in_flight_is_bounded) {
    Kernel kernel(kMs);
    int64_t most = 0;
    for (int i = 0; i < 60; ++i) {
        kernel.launch();
        most = std::max(most, null_end_ns() - null_now_ns());
    }
    EXPECT_LE(most, 5 * kMs) << "four, and what an estimate may be short of";
    EXPECT_EQ(null_record()->busy_ns, 60u * kMs);
}

TEST_F(Turns, one_operator_may_always_be_in_flight) {
    Kernel large(20 * kMs);
    for (int i = 0; i < 4; ++i) {
        large.launch();
        EXPECT_LE(null_end_ns() - null_now_ns(), 21 * kMs) << "but never two of that size, but for the last moment";
    }
    EXPECT_EQ(kernels(), 4u);
}

TEST_F(Turns, a_thread_that_has_waited_for_room_has_the_timer_slack_that_it_had) {
    ASSERT_EQ(prctl(PR_SET_TIMERSLACK, 12'345), 0);
    Kernel large(8 * kMs);
    for (int i = 0; i < 4; ++i) large.launch();
    EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 12'345);
}

TEST(TightTurn, what_is_short_is_not_waited_for_through_the_device) {
    Daemon daemon({.turn = open_turn(3), .in_flight_ns = FLEXNPU_TIGHT_NS});
    begin_program();
    Kernel kernel(kMs / 20);
    for (int i = 0; i < 400; ++i) kernel.launch();
    EXPECT_LT(null_record()->waits, 100u) << "but while it is not known how long one takes";
}

TEST(TightTurn, a_few_short_operators_may_wait_behind_a_long_one) {
    Daemon daemon({.turn = open_turn(3), .in_flight_ns = FLEXNPU_TIGHT_NS});
    begin_program();
    Kernel large(150 * kMs), small(kMs / 100);
    for (int i = 0; i < 3; ++i) {
        large.launch();
        for (int j = 0; j < 20; ++j) small.launch();
    }
    large.launch();
    for (int i = 0; i < 3; ++i) small.launch();
    EXPECT_GT(null_end_ns() - null_now_ns(), 50 * kMs) << "without waiting for the long one";
    for (int i = 0; i < 20; ++i) small.launch();
    EXPECT_LT(null_end_ns() - null_now_ns(), 20 * kMs) << "but no more of them than a short while's";
}

TEST(TightTurn, a_short_operator_of_another_stream_does_not_wait_behind_a_long_one) {
    Daemon daemon({.turn = open_turn(3), .in_flight_ns = FLEXNPU_TIGHT_NS});
    begin_program();
    aclrtStream other = make_stream();
    Kernel large(150 * kMs), small(kMs / 100);
    for (int i = 0; i < 3; ++i) {
        large.launch();
        for (int j = 0; j < 20; ++j) small.launch(other);
    }
    large.launch();
    small.launch(other);
    EXPECT_LT(null_end_ns() - null_now_ns(), 20 * kMs) << "its events would take the wait for its own time";
}

TEST_F(Turns, measured_time_is_reported) {
    Kernel kernel(2 * kMs);
    for (int i = 0; i < 20; ++i) kernel.launch();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(daemon.report().busy_ns, 36u * kMs);
}

TEST_F(Turns, the_granted_path_asks_nothing_of_the_device) {
    Kernel kernel(20'000);
    for (int i = 0; i < 100; ++i) kernel.launch();
    const uint64_t records = null_record()->records;
    for (int i = 0; i < 1000; ++i) kernel.launch();
    EXPECT_LT(null_record()->records - records, 500u) << "one for a window of many launches, not for each";
    EXPECT_EQ(daemon.report().launches[FLEXNPU_LAUNCH_KERNEL], 1100u);
}

TEST_F(Turns, a_contended_holder_that_is_idle_gives_its_turn_up) {
    Kernel kernel(kMs);
    kernel.launch();
    a_while();
    EXPECT_EQ(drained(daemon), 0u) << "nobody else wants it yet";
    daemon.turn(open_turn(3, FLEXNPU_TURN_CONTENDED));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    std::thread held = launch_elsewhere(kernel);
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; })) << "though turn 3 is still open";
    EXPECT_EQ(kernels(), 1u);
    daemon.turn(closed_turn(4));
    daemon.turn(open_turn(5, FLEXNPU_TURN_CONTENDED));
    held.join();
    EXPECT_EQ(kernels(), 2u);
}

TEST_F(Turns, a_contended_holder_with_work_on_the_device_keeps_its_turn) {
    Kernel kernel(300 * kMs);
    kernel.launch();
    const int64_t end = null_end_ns();
    daemon.turn(open_turn(3, FLEXNPU_TURN_CONTENDED));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end);
}

TEST_F(Turns, a_capture_makes_no_events_and_is_never_held) {
    Kernel kernel(kMs);
    aclrtStream stream = make_stream();
    kernel.launch(stream);
    aclmdlRICaptureBegin(stream, ACL_MODEL_RI_CAPTURE_MODE_RELAXED);
    kernel.launch(stream);
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    kernel.launch(stream);
    aclmdlRI graph = nullptr;
    aclmdlRICaptureEnd(stream, &graph);
    EXPECT_EQ(null_record()->captured, 0u);
    EXPECT_EQ(null_record()->busy_ns, 1u * kMs);
    std::thread held([&] {
        aclrtSetDevice(0);
        aclmdlRIExecuteAsync(graph, stream);
    });
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; })) << "a replay is";
    daemon.turn(open_turn(4));
    held.join();
    EXPECT_EQ(null_record()->busy_ns, 3u * kMs);
}

TEST_F(Turns, a_stream_that_was_destroyed_is_not_asked) {
    Kernel kernel(kMs);
    for (int i = 0; i < 100; ++i) {
        aclrtStream stream = make_stream();
        kernel.launch(stream);
        aclrtDestroyStream(stream);
    }
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end) << "the device is waited for as a whole";
    EXPECT_EQ(null_record()->misused, 0u);
}

TEST_F(Turns, a_device_that_was_reset_is_not_asked) {
    Kernel kernel(kMs);
    kernel.launch(make_stream());
    aclrtResetDevice(0);
    aclrtSetDevice(0);
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    daemon.turn(open_turn(4));
    kernel.launch(make_stream());
    EXPECT_EQ(kernels(), 2u);
    EXPECT_EQ(null_record()->misused, 0u);
}

TEST_F(Turns, more_streams_than_it_can_follow_are_drained_all_the_same) {
    Kernel kernel(kMs / 10);
    for (int i = 0; i < 200; ++i) kernel.launch(make_stream());
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end);
    EXPECT_EQ(kernels(), 200u);
}

TEST_F(Turns, one_stream_more_than_it_can_follow_is_bounded_like_the_others) {
    Kernel brief(kMs / 10);
    Kernel kernel(2 * kMs);
    for (int i = 0; i < 64; ++i) brief.launch(make_stream());
    aclrtStream one_more = make_stream();
    int64_t most = 0;
    for (int i = 0; i < 30; ++i) {
        kernel.launch(one_more);
        most = std::max(most, null_end_ns() - null_now_ns());
    }
    EXPECT_LE(most, 20 * kMs);
}

TEST_F(Turns, a_context_that_was_destroyed_is_not_asked) {
    Kernel kernel(kMs / 10);
    aclrtContext own = nullptr;
    ASSERT_EQ(aclrtCreateContext(&own, 0), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetCurrentContext(own), ACL_SUCCESS);
    kernel.launch(make_stream());
    ASSERT_EQ(aclrtDestroyContext(own), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    kernel.launch(make_stream());
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_EQ(null_record()->misused, 0u);
}

TEST_F(Turns, launches_of_the_layer_below_are_held_and_drained) {
    Kernel kernel(50 * kMs);
    rtKernelLaunch(&kernel, 8, nullptr, 0, nullptr, nullptr);
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(3));
    std::thread held([&] { rtKernelLaunch(&kernel, 8, nullptr, 0, nullptr, nullptr); });
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; }));
    EXPECT_EQ(kernels(), 1u);
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    EXPECT_GE(null_now_ns(), end);
    daemon.turn(open_turn(4));
    held.join();
}

TEST_F(Turns, threads_pass_every_turn_together) {
    Kernel kernels_of[] = {Kernel(10'000), Kernel(30'000)};
    constexpr int kLaunches = 400;
    std::atomic<int> left{2};
    const auto program = [&](Kernel& kernel) {
        aclrtSetDevice(0);
        aclrtStream stream = make_stream();
        for (int i = 0; i < kLaunches; ++i) kernel.launch(i % 3 == 0 ? nullptr : stream);
        --left;
    };
    std::thread one(program, std::ref(kernels_of[0]));
    std::thread two(program, std::ref(kernels_of[1]));
    uint64_t turn = 3;
    while (left != 0) {
        daemon.turn(closed_turn(turn));
        EXPECT_TRUE(eventually([&] { return drained(daemon) == daemon.report().turn_entered; }));
        const uint64_t before = kernels();
        const int64_t end = null_end_ns();
        EXPECT_GE(null_now_ns(), end - kMs / 4) << "turn " << turn << " is over on the device, but for a moment";
        EXPECT_EQ(kernels(), before) << "nothing passes between turns";
        daemon.turn(open_turn(++turn));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    one.join();
    two.join();
    EXPECT_EQ(kernels(), 2u * kLaunches);
    EXPECT_EQ(waiting(daemon), 0u);
    EXPECT_EQ(null_record()->misused, 0u);
    EXPECT_EQ(daemon.page().ungoverned, 0u);
}

TEST_F(Turns, a_forks_child_enters_turns_of_its_own) {
    Kernel kernel(kMs);
    kernel.launch();
    const pid_t child = fork();
    if (child == 0) {
        aclrtSetDevice(0);
        kernel.launch();
        kernel.launch();
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    ASSERT_EQ(daemon.tenants(), 2u);
    EXPECT_EQ(daemon.report(1).turn_entered, 3u);
    EXPECT_EQ(daemon.report(1).launches[FLEXNPU_LAUNCH_KERNEL], 2u);
    EXPECT_EQ(daemon.report(0).launches[FLEXNPU_LAUNCH_KERNEL], 1u);
}

TEST(FreeTurn, the_path_of_who_is_not_time_shared_makes_no_system_call) {
    Daemon daemon;
    begin_program();
    Kernel kernel(0);
    kernel.launch();
    rusage before{};
    rusage after{};
    getrusage(RUSAGE_THREAD, &before);
    for (int i = 0; i < 100'000; ++i) kernel.launch();
    getrusage(RUSAGE_THREAD, &after);
    EXPECT_EQ(null_record()->records, 0u);
    EXPECT_LE(after.ru_nvcsw - before.ru_nvcsw, 3) << "it never sleeps";
    EXPECT_EQ(daemon.report().turn_entered, 0u);
}

TEST(FreeTurn, a_launch_that_waited_for_its_first_turn_goes_on_when_time_is_shared_no_more) {
    Daemon daemon({.turn = closed_turn(3), .in_flight_ns = 4 * kMs});
    begin_program();
    Kernel kernel(kMs / 10);
    std::atomic<bool> passed = false;
    std::thread held([&] {
        aclrtSetDevice(0);
        kernel.launch();
        passed = true;
    });
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; }));
    daemon.turn(FLEXNPU_TURN_FREE);
    EXPECT_TRUE(eventually([&] { return passed.load(); }));
    held.join();
}

TEST(FreeTurn, who_was_thought_idle_rings_once_and_does_not_wait) {
    Daemon daemon;
    begin_program();
    Kernel kernel(kMs);
    kernel.launch();
    EXPECT_EQ(daemon.report().waiting, 0u);
    daemon.turn(open_turn(7, FLEXNPU_TURN_RING));
    EXPECT_TRUE(eventually([&] { return daemon.report().applied_grant == 1; }));
    const uint32_t bell = daemon.report().bell;
    for (int i = 0; i < 5; ++i) kernel.launch();
    EXPECT_EQ(daemon.report().bell, bell + 1);
    EXPECT_EQ(daemon.report().waited_ns, 0u);
    EXPECT_EQ(daemon.report().turn_entered, 7u);
    EXPECT_EQ(daemon.report().turn_drained, 7u) << "there is nothing to wait for";
    daemon.turn(FLEXNPU_TURN_FREE);
    kernel.launch();
    EXPECT_EQ(daemon.report().bell, bell + 1);
    EXPECT_EQ(kernels(), 7u);
}

TEST(FreeTurn, what_was_launched_before_the_first_turn_is_drained_too) {
    Daemon daemon;
    begin_program();
    Kernel kernel(100 * kMs);
    kernel.launch();
    daemon.turn(open_turn(2));
    Kernel shorter(1000);
    shorter.launch(make_stream());
    const int64_t end = null_end_ns();
    daemon.turn(closed_turn(2));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 2; }));
    EXPECT_GE(null_now_ns(), end);
}

TEST(DeadDaemon, a_turn_that_it_left_open_is_drained_for_the_next_one) {
    Daemon daemon({.turn = open_turn(3), .in_flight_ns = 4 * kMs});
    begin_program();
    Kernel kernel(kMs / 10);
    kernel.launch();
    a_while();  // the thread that ends turns sleeps on the word of this daemon's page
    daemon.die();
    daemon.come_back({.turn = closed_turn(7), .in_flight_ns = 4 * kMs});
    ASSERT_TRUE(eventually([&] { return daemon.returned() == 1; }));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    daemon.turn(open_turn(8));
    kernel.launch();
    daemon.turn(closed_turn(8));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 8; }));
}

TEST(DeadDaemon, opens_the_gate) {
    auto daemon = std::make_unique<Daemon>(Terms{.turn = closed_turn(3)});
    begin_program();
    const flexnpu_report_page& page = daemon->page();
    Kernel kernel(kMs);
    std::thread held = launch_elsewhere(kernel);
    EXPECT_TRUE(eventually([&] { return __atomic_load_n(&page.devices[0].waiting, __ATOMIC_ACQUIRE) == 1; }));
    daemon.reset();
    held.join();
    for (int i = 0; i < 3; ++i) kernel.launch();
    EXPECT_EQ(kernels(), 4u);
    EXPECT_EQ(page.ungoverned, 1u) << "once, however many launches";
}

}  // namespace
