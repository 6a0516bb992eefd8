// SPDX-License-Identifier: Apache-2.0
//
// The L2 of a device: which bytes were used last, by all processes on it, up to its size. Whole ranges come and go, the
// one that was used longest ago first; a range larger than the L2 passes through it and leaves nothing.
#pragma once

#include <cstdint>
#include <span>

namespace softnpu {

constexpr uint32_t kL2Ranges = 256;

// What an operator reads or writes: addresses of its process.
struct Touched {
    uint64_t start;
    uint64_t bytes;
};

// In the state that all processes share, under its lock. Free when start == end.
struct L2Range {
    uint64_t start;
    uint64_t end;
    uint64_t last_use;  // L2State::uses at that time
    uint32_t process;
    uint32_t reserved;
};

struct L2State {
    uint64_t uses;
    L2Range ranges[kL2Ranges];
};

// Bytes of `touched` that are in the L2, of `capacity` bytes, before they are used now.
uint64_t use(L2State& l2, uint64_t capacity, uint32_t process, std::span<const Touched> touched);

// What a process had in it.
void forget(L2State& l2, uint32_t process);

}  // namespace softnpu
