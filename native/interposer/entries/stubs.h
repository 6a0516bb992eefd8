// SPDX-License-Identifier: Apache-2.0
// What the assembler files of arch/ define and call. Both sides read this file; the offsets are asserted in op.cc.
#pragma once

// Stack words that are copied for a phase one of unknown signature. The longest known one has fewer.
#define FLEXNPU_STACK_WORDS 64

// The same for a function of the layer below.
#define FLEXNPU_FORWARD_WORDS 16

#ifndef __ASSEMBLER__

#include <stdint.h>

#include "quota.h"
#include "tilings.h"

namespace flexnpu {
class Probe;
}

extern "C" {

struct flexnpu_operator_stub {
    void* phase_one;
    void* phase_two;
};

// What an assembler entry is told: an address, and what to do with it.
struct flexnpu_answer {
    void* address;
    uintptr_t flag;
};

#pragma GCC visibility push(hidden)
extern const flexnpu_operator_stub flexnpu_operator_stubs[];  // by Operator
extern void* const flexnpu_forward_stubs[];                   // by Forward

// A phase one under way: the caller's registers, kept by the assembler, and what the two hooks tell each other.
struct flexnpu_phase_one {
#if defined(__x86_64__)
    static constexpr uint32_t registers = 6;
#elif defined(__aarch64__)
    static constexpr uint32_t registers = 8;
#endif
    uint64_t integers[8];
    uint64_t reals[16];       // eight registers of 16 bytes
    uint64_t index;           // Operator
    void* real;               // begin: where to go on
    uint64_t copied;          // begin: stack words that the real function may read
    uint64_t* stack;          // the caller's stack words
    flexnpu::Tiling tiling;   // begin: of no generation when nothing was counted
    flexnpu::Probe* probe;    // begin: of the device that it was on
    flexnpu::TiledFor outer;  // begin: of the phase one that calls this one, if any
};

void flexnpu_phase_one_begin(flexnpu_phase_one* call);
void flexnpu_phase_one_end(flexnpu_phase_one* call, int status);
flexnpu_answer flexnpu_forward_begin(uint32_t index);
void flexnpu_forward_end();
#pragma GCC visibility pop
}

#endif
