// SPDX-License-Identifier: Apache-2.0
// Sleeping on several words where the kernel, or a container's filter, has no call for it.
#include "arbiter/futex.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <thread>

namespace flexnpu {
namespace {

using namespace std::chrono_literals;

// Of the calling thread, for as long as it lives.
bool refuse_waitv(uint32_t error) {
    constexpr uint32_t kFutexWaitvCall = 449;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kFutexWaitvCall, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{.len = std::size(program), .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

class WithoutWaitv : public testing::TestWithParam<uint32_t> {};

TEST_P(WithoutWaitv, bells_are_looked_at_now_and_then) {
    bool refused = false;
    std::array<std::chrono::steady_clock::duration, 2> slept{};
    std::thread([&] {
        refused = refuse_waitv(GetParam());
        const uint32_t own = 0, bell = 0;
        const std::array<FutexWord, 2> words{FutexWord{&own, 0}, FutexWord{&bell, 0}};
        for (size_t i = 0; i < slept.size(); ++i) {
            const auto start = std::chrono::steady_clock::now();
            futex_wait_any(words, i == 0 ? 0 : std::chrono::nanoseconds(10min).count());
            slept[i] = std::chrono::steady_clock::now() - start;
        }
    }).join();
    if (!refused) GTEST_SKIP() << "no filter of calls can be set here";
    for (const auto each : slept) {
        EXPECT_GE(each, 5ms) << "it does not spin";
        EXPECT_LE(each, 5min) << "and does not wait for its own word alone";
    }
}

INSTANTIATE_TEST_SUITE_P(Futexes, WithoutWaitv, testing::Values(ENOSYS, EPERM));

}  // namespace
}  // namespace flexnpu
