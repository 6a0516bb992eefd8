// SPDX-License-Identifier: Apache-2.0
// Hails: who goes first stops the others without the daemon, which closes no turn here unless the test does.
#include "flexnpu/hail.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tenancy.h"

namespace {

constexpr uint64_t kHail = 0x1234'5678'9abc'def0;
constexpr uint64_t kHeedNs = kMs, kDeafNs = 100 * kMs;  // as hails.h has them

uint64_t now() {
    timespec at{};
    clock_gettime(CLOCK_MONOTONIC, &at);
    return static_cast<uint64_t>(at.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(at.tv_nsec);
}

class Hailed : public testing::Test {
  protected:
    void SetUp() override {
        begin_program();
        for (int i = 0; i < 3; ++i) kernel.launch();  // its length is known
        daemon.yields_to(flexnpu_hail_print(kHail));
    }

    // Launches until it ends, and tells what it has had to wait for the longest.
    class Busy {
      public:
        explicit Busy(Kernel& kernel) : thread_([this, &kernel] { run(kernel); }) {}
        ~Busy() { stop(); }
        uint64_t stop() {
            stopping_ = true;
            if (thread_.joinable()) thread_.join();
            return longest_ns_;
        }
        uint64_t launches() const { return launches_; }

      private:
        void run(Kernel& kernel) {
            aclrtSetDevice(0);
            while (!stopping_) {
                const uint64_t from = now();
                kernel.launch();
                longest_ns_ = std::max(longest_ns_.load(), now() - from);
                ++launches_;
            }
        }
        std::atomic<bool> stopping_{false};
        std::atomic<uint64_t> longest_ns_{0}, launches_{0};
        std::thread thread_;
    };

    Daemon daemon{{.turn = open_turn(3), .in_flight_ns = 4 * kMs}};
    Kernel kernel{20'000};
};

// Whether a launch was held by a hail until the daemon closed the turn, which it must do within a moment: a busy host
// may be too late.
bool holds_until_closed(Daemon& daemon, Kernel& kernel, uint64_t number) {
    const uint64_t before = kernels(), hail = kHail + number;
    daemon.turn(open_turn(number));
    daemon.yields_to(flexnpu_hail_print(hail));
    daemon.hail(hail);
    std::thread held = launch_elsewhere(kernel);
    while (waiting(daemon) == 0 && kernels() == before) std::this_thread::yield();
    daemon.turn(closed_turn(number));
    a_while();
    const bool holds = kernels() == before && waiting(daemon) == 1;
    daemon.yields_to(0);
    daemon.turn(open_turn(number + 1));
    held.join();
    std::this_thread::sleep_for(std::chrono::nanoseconds(kDeafNs));
    return holds;
}

TEST_F(Hailed, a_hail_closes_the_gate_before_the_daemon_does) {
    const uint32_t bell = daemon.report().bell;
    uint64_t number = 4;
    EXPECT_TRUE(eventually([&] { return holds_until_closed(daemon, kernel, number += 2); }));
    EXPECT_NE(daemon.report().bell, bell) << "which is asked to confirm it";
}

TEST_F(Hailed, who_is_not_confirmed_is_heeded_once_for_a_moment) {
    Busy busy(kernel);
    ASSERT_TRUE(eventually([&] { return busy.launches() > 1000; }));
    const uint64_t before = daemon.report().waited_ns;
    daemon.hail(kHail);
    ASSERT_TRUE(eventually([&] { return daemon.report().waited_ns != before; }));
    const uint64_t waited = daemon.report().waited_ns - before;
    EXPECT_GE(waited, kHeedNs);
    const uint64_t launches = busy.launches();
    EXPECT_TRUE(eventually([&] { return busy.launches() > launches + 1000; })) << "the same hail holds it no more";
    EXPECT_EQ(daemon.report().waited_ns - before, waited);
}

TEST_F(Hailed, after_one_in_vain_it_is_deaf_to_all_for_a_while) {
    Busy busy(kernel);
    ASSERT_TRUE(eventually([&] { return busy.launches() > 1000; }));
    const uint64_t before = daemon.report().waited_ns, until = now() + kDeafNs - 10 * kMs;
    daemon.hail(kHail);
    ASSERT_TRUE(eventually([&] { return daemon.report().waited_ns != before; }));
    const uint64_t waited = daemon.report().waited_ns;
    uint64_t hail = kHail;
    while (now() < until) {
        daemon.yields_to(flexnpu_hail_print(++hail));
        daemon.hail(hail);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (now() < until + 5 * kMs) {
        EXPECT_EQ(daemon.report().waited_ns, waited);
    }
    std::this_thread::sleep_for(std::chrono::nanoseconds(kDeafNs));
    daemon.yields_to(flexnpu_hail_print(++hail));
    daemon.hail(hail);
    EXPECT_TRUE(eventually([&] { return daemon.report().waited_ns != waited; })) << "then it listens again";
}

TEST_F(Hailed, what_is_not_of_the_print_is_noise) {
    Busy busy(kernel);
    for (uint64_t noise = 1; noise < 2000; ++noise) {
        daemon.hail(noise);
        std::this_thread::yield();
    }
    const uint64_t launches = busy.launches();
    EXPECT_TRUE(eventually([&] { return busy.launches() > launches + 1000; }));
    busy.stop();
    EXPECT_EQ(daemon.report().waited_ns, 0u);
}

TEST_F(Hailed, who_yields_to_nobody_hears_nothing) {
    daemon.yields_to(0);
    daemon.hail(kHail);
    for (int i = 0; i < 100; ++i) kernel.launch();
    EXPECT_EQ(daemon.report().waited_ns, 0u);
}

TEST_F(Hailed, a_killed_hailer_costs_no_more_than_that_moment) {
    Busy busy(kernel);
    ASSERT_TRUE(eventually([&] { return busy.launches() > 1000; }));
    const pid_t hailer = fork();
    if (hailer == 0) {
        daemon.hail(kHail);  // the page is shared
        kill(getpid(), SIGKILL);
    }
    waitpid(hailer, nullptr, 0);
    ASSERT_TRUE(eventually([&] { return daemon.report().waited_ns != 0; }));
    const uint64_t launches = busy.launches();
    EXPECT_TRUE(eventually([&] { return busy.launches() > launches + 1000; }));
}

TEST(Hails, what_others_wrote_on_their_page_keeps_nobody_from_attaching) {
    Daemon daemon;
    daemon.scribble_on_hails();
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    daemon.die();
    daemon.come_back({});
    daemon.scribble_on_hails();
    EXPECT_TRUE(eventually([&] { return daemon.returned() == 1; }));
}

// --- on standby ---

uint64_t standby(uint64_t number, uint32_t flags = 0) {
    return flexnpu_pack_turn(number, FLEXNPU_TURN_STANDBY | flags);
}

TEST(Standby, who_is_on_standby_hails_enters_and_launches_without_the_daemon) {
    Daemon daemon({.turn = standby(3, FLEXNPU_TURN_BEHIND), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail);
    begin_program();
    Kernel kernel(20'000);
    const uint32_t bell = daemon.report().bell;
    for (int i = 0; i < 10; ++i) kernel.launch();
    EXPECT_EQ(kernels(), 10u);
    EXPECT_EQ(daemon.hailed(), kHail);
    EXPECT_EQ(daemon.report().turn_entered, 3u);
    EXPECT_NE(daemon.report().bell, bell) << "the daemon is told";
    EXPECT_EQ(daemon.report().waited_ns, 0u);
    daemon.turn(open_turn(3));
    for (int i = 0; i < 10; ++i) kernel.launch();
    EXPECT_EQ(daemon.report().turn_entered, 3u) << "opened by the daemon it is the same turn";
    daemon.turn(closed_turn(3));
    EXPECT_TRUE(eventually([&] { return drained(daemon) == 3; }));
}

TEST(Standby, a_turn_that_was_opened_once_is_not_opened_again) {
    Daemon daemon({.turn = standby(3), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail);
    begin_program();
    Kernel kernel(20'000);
    kernel.launch();
    daemon.turn(closed_turn(3));
    ASSERT_TRUE(eventually([&] { return drained(daemon) == 3; }));
    daemon.turn(standby(3));
    std::thread held = launch_elsewhere(kernel);
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; }));
    daemon.turn(standby(4));
    held.join();
    EXPECT_EQ(daemon.report().turn_entered, 4u);
}

TEST(Standby, who_is_dismissed_before_it_comes_waits_and_does_not_hail) {
    Daemon daemon({.turn = standby(3), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail);
    begin_program();
    daemon.turn(closed_turn(3));
    Kernel kernel(20'000);
    std::thread held = launch_elsewhere(kernel);
    EXPECT_TRUE(eventually([&] { return waiting(daemon) == 1; }));
    EXPECT_EQ(daemon.hailed(), 0u);
    EXPECT_EQ(daemon.report().turn_entered, 0u);
    daemon.turn(open_turn(4));
    held.join();
}

TEST(Standby, a_daemon_that_comes_back_brings_another_page) {
    Daemon daemon({.turn = standby(3), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail);
    begin_program();
    Kernel kernel(20'000);
    kernel.launch();
    daemon.die();
    daemon.come_back({.turn = standby(7), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail + 1);
    ASSERT_TRUE(eventually([&] { return daemon.returned() == 1; }));
    kernel.launch();
    EXPECT_TRUE(eventually([&] {
        kernel.launch();
        return daemon.hailed() == kHail + 1;
    }));
    EXPECT_EQ(daemon.report().turn_entered, 7u);
}

TEST(Standby, the_child_of_a_fork_hails_with_its_own_page) {
    Daemon daemon({.turn = standby(3), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail);
    begin_program();
    Kernel kernel(20'000);
    kernel.launch();
    daemon.hail(0);
    const pid_t child = fork();
    if (child == 0) {
        aclInit(nullptr);
        aclrtSetDevice(0);
        kernel.launch();
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(daemon.hailed(), kHail);
    EXPECT_EQ(daemon.tenants(), 2u);
    EXPECT_EQ(daemon.report(1).turn_entered, 3u);
}

TEST(Standby, each_device_has_its_own_hail) {
    Daemon daemon({.devices = {2, 5}, .turn = standby(3), .in_flight_ns = 4 * kMs});
    daemon.may_hail(kHail, 0);
    daemon.may_hail(kHail + 1, 1);
    begin_program();
    Kernel kernel(20'000);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    kernel.launch();
    EXPECT_EQ(daemon.hailed(5), kHail + 1);
    EXPECT_EQ(daemon.hailed(2), 0u);
}

}  // namespace
