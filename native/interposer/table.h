// SPDX-License-Identifier: Apache-2.0
// The intercepted names in code: one slot per name, and where the real function behind each was found.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "flexnpu_abi/acl_op.h"
#include "flexnpu_abi/acl_rt.h"
#include "flexnpu_abi/aclnn.h"
#include "flexnpu_abi/hccl.h"
#include "flexnpu_abi/rt.h"

namespace flexnpu {

// Where the real function lives; libraries of one row are tried in the order of table.cc.
enum class Library : uint8_t { runtime, runtime_impl, ascendcl, compiler, platform, opapi, hccl, below };

// Slots: functions, then their Impl names (the same order; unused for other libraries than the runtime's), then the
// forwarded ones, then phase ones, then phase twos.
enum Slot : uint32_t {
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) slot_##name,
#include "functions.def"
    function_count,
};
enum Forward : uint32_t {
#define FLEXNPU_FORWARD(name, kind) forward_##name,
#include "functions.def"
    forward_count,
};
enum Operator : uint32_t {
#define FLEXNPU_ACLNN(name, words, reals) operator_##name,
#include "aclnn.def"
#undef FLEXNPU_ACLNN
    operator_count,
};
constexpr uint32_t first_impl = function_count;
constexpr uint32_t first_forward = first_impl + function_count;
constexpr uint32_t first_phase_one = first_forward + forward_count;
constexpr uint32_t first_phase_two = first_phase_one + operator_count;
constexpr uint32_t slot_count = first_phase_two + operator_count;
constexpr uint32_t no_slot = ~0u;

// The slot of a name, no_slot for a name that is not in the tables. Neither locks nor allocates.
uint32_t find_slot(const char* name);

// Writes the slot's name into the buffer and gives it back; for messages and lookups.
constexpr size_t name_room = 160;
const char* slot_name(uint32_t slot, char (&buffer)[name_room]);

Library slot_library(uint32_t slot);

// Our function for the slot.
void* our_function(uint32_t slot);

// Phase one's integer parameters, 0 when the signature is not known.
uint32_t operator_words(uint32_t op);

}  // namespace flexnpu
