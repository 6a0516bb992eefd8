// SPDX-License-Identifier: Apache-2.0
//
// Several processes on one device, and what is left when they are killed.
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "fixture.h"

using namespace softnpu;
using softnpu::test::cube_task;
using softnpu::test::SharedDevice;

namespace {

// Runs `body` in a child that opens the device anew, then waits to be killed.
template <typename Body>
pid_t spawn(const DeviceOptions& options, Body body) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        std::string error;
        auto device = Device::open(options, &error);
        body(*device);
        const ssize_t told = write(ready[1], "x", 1);
        while (told == 1) {
            pause();
        }
        _exit(1);
    }
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

void kill_and_wait(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

}  // namespace

TEST_F(SharedDevice, memory_is_one_sum_over_processes_and_comes_back_from_a_killed_one) {
    auto device = open();
    const uint64_t half = device->memory_total() / 2;
    const pid_t child = spawn(options_, [&](Device& mine) { mine.reserve(half); });
    EXPECT_EQ(device->memory_used(), half);
    EXPECT_FALSE(device->reserve(half + 1));
    kill_and_wait(child);
    EXPECT_TRUE(device->reserve(half + 1)) << "what the killed process held is free";
}

TEST_F(SharedDevice, cores_come_back_from_a_killed_process) {
    options_.paced = true;
    options_.scale = 1.0;
    auto device = open();
    const pid_t child = spawn(options_, [](Device& mine) {
        static Lane lane(mine);
        std::thread([] { lane.run(cube_task(3600.0), 24, 0); }).detach();  // an hour
        while (lane.horizon_ns() == 0) {
            usleep(1000);
        }
    });
    kill_and_wait(child);
    EXPECT_EQ(device->memory_used(), 0u);  // looking at the device reaps
    Lane lane(*device);
    const int64_t end = lane.run(cube_task(1e-3), 24, device->now_ns()).end_ns;
    EXPECT_LT(end, 10'000'000'000) << "not after the hour";
}

TEST_F(SharedDevice, killing_at_random_for_a_minute_leaves_a_whole_state_and_a_working_neighbour) {
    options_.paced = true;
    options_.scale = 1e-3;
    auto device = open();
    std::mt19937 random(7);
    const auto busy = [](Device& mine) {
        std::thread([&mine] {
            Lane lane(mine);
            for (;;) {
                const bool reserved = mine.reserve(1 << 20);
                lane.run(cube_task(1e-6), 24, 0);
                mine.release(reserved ? 1 << 19 : 0);  // grows until it is killed
            }
        }).detach();
    };
    Lane neighbour(*device);
    std::array<pid_t, 3> children{};
    int killed = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < end) {
        pid_t& child = children[random() % children.size()];
        if (child != 0) {
            kill_and_wait(child);
            ++killed;
        }
        child = spawn(options_, busy);
        usleep(random() % 3000);
        const int64_t before = device->now_ns();
        const int64_t over = neighbour.run(cube_task(1e-6), 24, before).end_ns;
        EXPECT_GT(over, before) << "after " << killed << " kills";
        EXPECT_LE(device->memory_used(), device->memory_total()) << "after " << killed << " kills";
        if (HasFailure()) {
            break;
        }
    }
    for (const pid_t child : children) {
        if (child != 0) {
            kill_and_wait(child);
        }
    }
    EXPECT_GT(killed, 100);
    EXPECT_EQ(device->memory_used(), 0U);
    EXPECT_TRUE(device->reserve(device->memory_total()));
}

TEST_F(SharedDevice, device_time_goes_on_when_the_scale_changes) {
    auto device = open();
    const int64_t before = device->now_ns();
    usleep(1000);
    EXPECT_GT(device->now_ns(), before);
}
