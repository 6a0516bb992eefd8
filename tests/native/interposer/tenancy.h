// SPDX-License-Identifier: Apache-2.0
// A program on the null device, for tests of what holds its launches.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "daemon.h"
#include "nullacl.h"

constexpr int64_t kMs = 1'000'000;

inline uint64_t open_turn(uint64_t number, uint32_t flags = 0) {
    return flexnpu_pack_turn(number, FLEXNPU_TURN_OPEN | flags);
}
inline uint64_t closed_turn(uint64_t number) { return flexnpu_pack_turn(number, 0); }

// A kernel of a given length; distinct objects are distinct functions.
struct Kernel {
    explicit Kernel(int64_t takes_ns) { null_take(this, takes_ns); }
    void launch(aclrtStream stream = nullptr, uint32_t blocks = 8) {
        EXPECT_EQ(aclrtLaunchKernelWithHostArgs(this, blocks, stream, nullptr, nullptr, 0, nullptr, 0), ACL_SUCCESS);
    }
    char padding[64] = {};
};

// An operator between its two phases.
struct Tiled {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
};

inline Tiled tile() {
    Tiled op;
    EXPECT_EQ(aclnnAddGetWorkspaceSize(nullptr, nullptr, nullptr, nullptr, &op.size, &op.executor), ACL_SUCCESS);
    return op;
}

// The blocks that it was launched with.
inline uint32_t launch(const Tiled& op) {
    EXPECT_EQ(aclnnAdd(nullptr, op.size, op.executor, nullptr), ACL_SUCCESS);
    return null_record()->blocks;
}

// In a thread of its own, which the gate may hold.
inline std::thread launch_elsewhere(Kernel& kernel) {
    return std::thread([&kernel] {
        aclrtSetDevice(0);
        kernel.launch();
    });
}

inline aclrtStream make_stream() {
    aclrtStream stream = nullptr;
    aclrtCreateStream(&stream);
    return stream;
}

inline void begin_program() {
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
}

inline uint64_t kernels() { return __atomic_load_n(&null_record()->kernels, __ATOMIC_ACQUIRE); }
inline uint64_t drained(Daemon& daemon) { return __atomic_load_n(&daemon.report().turn_drained, __ATOMIC_ACQUIRE); }
inline uint32_t waiting(Daemon& daemon) { return __atomic_load_n(&daemon.report().waiting, __ATOMIC_ACQUIRE); }

// Long against a wake-up.
inline void a_while() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }
