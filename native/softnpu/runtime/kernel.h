// SPDX-License-Identifier: Apache-2.0
//
// What an aclrtFuncHandle points to on the software NPU, and the arguments that a launch copies.
// libopapi.so makes kernels and launches them through the public aclrtLaunchKernelWithHostArgs, as CANN does, so that
// whoever interposes on that call sees every operator.
#pragma once

#include <cstdint>

#include "device/device.h"

namespace softnpu {

constexpr uint32_t kKernelMagic = 0x4c4e524b;  // "KRNL"

// `hostArgs` of a launch: copied by the launch, so it may live on the caller's stack.
struct KernelArgs {
    Cost cost;
    void* state;  // the operator's own; passed to execute, then to drop
};

// A collective when its stream has come to it.
struct Turn {
    bool skip_math;
    int64_t ready_ns;  // wall time at which this rank has come to it; then that at which the last one has
    char error[512];
};

struct Kernel {
    uint32_t magic = kKernelMagic;
    const char* name = nullptr;
    // Runs the mathematics. Returns false with a line in `error` (size bytes) when it could not. Not called when math
    // is skipped.
    bool (*execute)(void* state, char* error, uint32_t size) = nullptr;
    // Called once after the launch is over, whatever came of it.
    void (*drop)(void* state) = nullptr;
    // Of a collective, in place of execute: takes part in it, also when math is skipped. false with a line in the
    // turn's error.
    bool (*meet)(void* state, Turn& turn) = nullptr;
    // Writes what a launch reads and writes, at most `room` of it, and returns how many it wrote.
    uint32_t (*touched)(const void* state, Touched* list, uint32_t room) = nullptr;
};

}  // namespace softnpu
