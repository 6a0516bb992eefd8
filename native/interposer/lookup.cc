// SPDX-License-Identifier: Apache-2.0
// libflexnpu.so defines dlsym: torch_npu finds most functions with dlsym on a handle, which passes a preloaded library
// by. A lookup of a name in the tables gets our function if the real library has one, on whatever handle; every other
// lookup goes on to the real dlsym by a jump, so that RTLD_NEXT still counts from its caller.
//
// The originals are found by dlopen of the real library: in a Python process it is loaded RTLD_LOCAL, where neither
// RTLD_NEXT nor RTLD_DEFAULT see it.
#include "lookup.h"

#include <dlfcn.h>

#include "log.h"
#include "symbols.h"
#include "tenant.h"

namespace flexnpu {

constinit std::atomic<void*> real_functions[slot_count];

namespace {

using Dlsym = void* (*)(void*, const char*);
using Dlvsym = void* (*)(void*, const char*, const char*);
using Dlopen = void* (*)(const char*, int);

// In the C library since glibc 2.34, in libdl before.
void* find_in_libc(const char* name) {
    void* found = find_in_object("libc.so.6", name);
    return found != nullptr ? found : find_in_object("libdl.so.2", name);
}

template <typename Function>
Function from_libc(std::atomic<void*>& cache, const char* name) {
    void* found = cache.load(std::memory_order_relaxed);
    if (found == nullptr) cache.store(found = find_in_libc(name), std::memory_order_relaxed);
    return reinterpret_cast<Function>(found);
}

constinit std::atomic<void*> dlsym_cache, dlvsym_cache, dlopen_cache;

Dlsym real_dlsym() { return from_libc<Dlsym>(dlsym_cache, "dlsym"); }
Dlvsym real_dlvsym() { return from_libc<Dlvsym>(dlvsym_cache, "dlvsym"); }
Dlopen real_dlopen() { return from_libc<Dlopen>(dlopen_cache, "dlopen"); }

constexpr int kPerLibrary = 3;
// By Library, in the order of trying. A runtime function's Impl moved between libraries with CANN 9.2.
constexpr const char* kSonames[][kPerLibrary] = {
    {"libascendcl.so", "libacl_rt.so", nullptr},
    {"libacl_rt_impl.so", "libruntime.so", "libascendcl.so"},
    {"libascendcl.so", nullptr, nullptr},
    {"libacl_op_compiler.so", "libascendcl.so", nullptr},
    {"libplatform.so", "libascendcl.so", nullptr},
    {"libopapi.so", nullptr, nullptr},
    {"libhccl.so", nullptr, nullptr},
    {"libruntime.so", nullptr, nullptr},
};

// What a caller gets for a name of the tables when its own lookup found `found`.
void* choose(uint32_t slot, void* found) {
    if (found == nullptr) return nullptr;
    if (is_ours(found)) return resolve(slot) != nullptr ? our_function(slot) : nullptr;
    void* known = nullptr;
    if (real_functions[slot].compare_exchange_strong(known, found, std::memory_order_acq_rel) || known == found) {
        return our_function(slot);
    }
    // Open: a second library defines the same name (a custom operator package, say), and one slot leads to one
    // function.
    char buffer[name_room];
    log(Level::warn, "%s is defined by two libraries: calls of the second are not governed", slot_name(slot, buffer));
    if (tenant.attached.load(std::memory_order_acquire)) tenant.report.ungoverned();
    return found;
}

}  // namespace

// A failure leaves the message that dlerror() gives.
void* look_up(Library library, const char* name) {
    for (const char* soname : kSonames[static_cast<size_t>(library)]) {
        if (soname == nullptr) continue;
        void* handle = real_dlopen()(soname, RTLD_LAZY | RTLD_LOCAL);
        void* found = handle != nullptr ? real_dlsym()(handle, name) : nullptr;
        if (found != nullptr && !is_ours(found)) return found;
    }
    return nullptr;
}

void* resolve(uint32_t slot) {
    void* known = real_functions[slot].load(std::memory_order_acquire);
    if (known != nullptr) return known;
    char buffer[name_room];
    void* found = look_up(slot_library(slot), slot_name(slot, buffer));
    if (found == nullptr) return nullptr;
    return real_functions[slot].compare_exchange_strong(known, found, std::memory_order_acq_rel) ? found : known;
}

}  // namespace flexnpu

// Answers the assembler entries of dlsym and dlvsym: either the result, or where to go on.
extern "C" {

struct flexnpu_answer {
    void* address;
    uintptr_t final;  // 1: address is the result; 0: go on to the function at address
};

__attribute__((visibility("hidden"))) flexnpu_answer flexnpu_dlsym(void* handle, const char* name) {
    using namespace flexnpu;
    const uint32_t slot = handle == RTLD_NEXT ? no_slot : find_slot(name);
    if (slot == no_slot) return {reinterpret_cast<void*>(real_dlsym()), 0};
    return {choose(slot, real_dlsym()(handle, name)), 1};
}

__attribute__((visibility("hidden"))) flexnpu_answer flexnpu_dlvsym(void* handle, const char* name,
                                                                    const char* version) {
    using namespace flexnpu;
    const uint32_t slot = handle == RTLD_NEXT ? no_slot : find_slot(name);
    if (slot == no_slot) return {reinterpret_cast<void*>(real_dlvsym()), 0};
    return {choose(slot, real_dlvsym()(handle, name, version)), 1};
}
}
