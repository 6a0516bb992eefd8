// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <string.h>

#include <array>
#include <string_view>

#include "entries/stubs.h"

// The Impl names, declared nowhere else.
extern "C" {
#define FLEXNPU_IMPL_runtime(ret, name, params) ACL_API ret name##Impl params;
#define FLEXNPU_IMPL_ascendcl(ret, name, params)
#define FLEXNPU_IMPL_compiler(ret, name, params)
#define FLEXNPU_IMPL_platform(ret, name, params)
#define FLEXNPU_IMPL_opapi(ret, name, params)
#define FLEXNPU_IMPL_hccl(ret, name, params)
#define FLEXNPU_IMPL_below(ret, name, params)
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) FLEXNPU_IMPL_##library(ret, name, params)
#include "functions.def"
}

namespace flexnpu {
namespace {

using std::string_view;

constexpr string_view kFunctions[] = {
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) #name,
#include "functions.def"
};
constexpr string_view kForwards[] = {
#define FLEXNPU_FORWARD(name, kind) #name,
#include "functions.def"
};
constexpr string_view kOperators[] = {
#define FLEXNPU_ACLNN(name, words, reals) #name,
#include "aclnn.def"
#undef FLEXNPU_ACLNN
};
constexpr Library kLibraries[] = {
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) Library::library,
#include "functions.def"
};
constexpr uint8_t kWords[] = {
#define FLEXNPU_ACLNN(name, words, reals) words,
#include "aclnn.def"
#undef FLEXNPU_ACLNN
};
void* const kOurFunctions[] = {
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) reinterpret_cast<void*>(&::name),
#include "functions.def"
};
void* const kOurImpls[] = {
#define FLEXNPU_ADDRESS_runtime(name) reinterpret_cast<void*>(&::name##Impl)
#define FLEXNPU_ADDRESS_ascendcl(name) nullptr
#define FLEXNPU_ADDRESS_compiler(name) nullptr
#define FLEXNPU_ADDRESS_platform(name) nullptr
#define FLEXNPU_ADDRESS_opapi(name) nullptr
#define FLEXNPU_ADDRESS_hccl(name) nullptr
#define FLEXNPU_ADDRESS_below(name) nullptr
#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) FLEXNPU_ADDRESS_##library(name),
#include "functions.def"
};

constexpr string_view kImpl = "Impl";
constexpr string_view kPhaseOne = "GetWorkspaceSize";

// Base names only (without Impl and GetWorkspaceSize), hashed when this file is compiled: a lookup in a process that
// is still starting finds the table ready.
constexpr size_t kBuckets = 4096;
constexpr uint16_t kFree = 0xffff;

constexpr uint32_t hash_of(string_view name) {
    uint32_t hash = 2166136261u;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return hash;
}

constexpr size_t kFirstOperator = size_t{function_count} + forward_count;
constexpr size_t kBases = kFirstOperator + operator_count;

constexpr string_view base_name(size_t base) {
    if (base < function_count) return kFunctions[base];
    base -= function_count;
    return base < forward_count ? kForwards[base] : kOperators[base - forward_count];
}

constexpr std::array<uint16_t, kBuckets> make_index() {
    std::array<uint16_t, kBuckets> index{};
    index.fill(kFree);
    for (size_t base = 0; base < kBases; ++base) {
        size_t at = hash_of(base_name(base)) % kBuckets;
        while (index[at] != kFree) at = (at + 1) % kBuckets;
        index[at] = static_cast<uint16_t>(base);
    }
    return index;
}
constexpr auto kIndex = make_index();

constexpr uint32_t find_base(string_view name) {
    for (size_t at = hash_of(name) % kBuckets; kIndex[at] != kFree; at = (at + 1) % kBuckets) {
        if (base_name(kIndex[at]) == name) return kIndex[at];
    }
    return no_slot;
}
static_assert(find_base("aclrtMalloc") == slot_aclrtMalloc);

constexpr uint32_t find(string_view name) {
    uint32_t base = find_base(name);
    if (base != no_slot) {
        if (base < function_count) return base;
        base -= function_count;
        return base < forward_count ? first_forward + base : first_phase_two + base - forward_count;
    }
    if (name.ends_with(kImpl)) {
        base = find_base(name.substr(0, name.size() - kImpl.size()));
        return base < function_count && kLibraries[base] == Library::runtime ? first_impl + base : no_slot;
    }
    if (name.ends_with(kPhaseOne)) {
        base = find_base(name.substr(0, name.size() - kPhaseOne.size()));
        return base != no_slot && base >= kFirstOperator
                   ? first_phase_one + base - static_cast<uint32_t>(kFirstOperator)
                   : no_slot;
    }
    return no_slot;
}

void append(char (&buffer)[name_room], size_t& used, string_view part) {
    const size_t size = part.size() < name_room - 1 - used ? part.size() : name_room - 1 - used;
    memcpy(buffer + used, part.data(), size);
    used += size;
    buffer[used] = '\0';
}

}  // namespace

uint32_t find_slot(const char* name) { return name == nullptr ? no_slot : find(name); }

const char* slot_name(uint32_t slot, char (&buffer)[name_room]) {
    size_t used = 0;
    if (slot < first_impl) {
        append(buffer, used, kFunctions[slot]);
    } else if (slot < first_forward) {
        append(buffer, used, kFunctions[slot - first_impl]);
        append(buffer, used, kImpl);
    } else if (slot < first_phase_one) {
        append(buffer, used, kForwards[slot - first_forward]);
    } else if (slot < first_phase_two) {
        append(buffer, used, kOperators[slot - first_phase_one]);
        append(buffer, used, kPhaseOne);
    } else {
        append(buffer, used, kOperators[slot - first_phase_two]);
    }
    return buffer;
}

Library slot_library(uint32_t slot) {
    if (slot < first_impl) return kLibraries[slot];
    if (slot < first_forward) return Library::runtime_impl;
    return slot < first_phase_one ? Library::below : Library::opapi;
}

void* our_function(uint32_t slot) {
    if (slot < first_impl) return kOurFunctions[slot];
    if (slot < first_forward) return kOurImpls[slot - first_impl];
    if (slot < first_phase_one) return flexnpu_forward_stubs[slot - first_forward];
    if (slot < first_phase_two) return flexnpu_operator_stubs[slot - first_phase_one].phase_one;
    return flexnpu_operator_stubs[slot - first_phase_two].phase_two;
}

uint32_t operator_words(uint32_t op) { return kWords[op]; }

}  // namespace flexnpu
