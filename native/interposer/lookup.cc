// SPDX-License-Identifier: Apache-2.0
// libflexnpu.so defines dlsym: torch_npu finds most functions with dlsym on a handle, which passes a preloaded library
// by. dlopen and dlmopen are defined to see who will bind past the preload (scopes.h). A lookup of a name in the tables
// gets our function if the real library has one, on whatever handle; every other lookup goes on to the real dlsym by a
// jump, so that RTLD_NEXT still counts from its caller.
//
// The originals are found by dlopen of the real library: in a Python process it is loaded RTLD_LOCAL, where neither
// RTLD_NEXT nor RTLD_DEFAULT see it.
#include "lookup.h"

#include <dlfcn.h>

#include "entries/stubs.h"
#include "log.h"
#include "scopes.h"
#include "symbols.h"
#include "tenant.h"
#include "unlisted.h"

namespace flexnpu {

constinit std::atomic<void*> real_functions[slot_count];

namespace {

constinit DlFunctions found_in_libc;
constinit std::atomic<bool> libc_is_found{false};

// In the C library since glibc 2.34, in libdl before.
template <typename Function>
void find_in_libc(Function* function, const char* name) {
    void* found = find_in_object("libc.so.6", name);
    if (found == nullptr) found = find_in_object("libdl.so.2", name);
    __atomic_store_n(function, reinterpret_cast<Function>(found), __ATOMIC_RELAXED);
}

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
    {"libruntime.so", "libascendcl.so", "libacl_rt.so"},
};

// What a caller gets for a name of the tables when its own lookup found `found`.
void* choose(uint32_t slot, const char* name, void* found) {
    if (found == nullptr || stands_before_us(name, found)) return found;
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

// Two threads that come first both find the same.
const DlFunctions& libc() {
    if (!libc_is_found.load(std::memory_order_acquire)) {
        find_in_libc(&found_in_libc.dlsym, "dlsym");
        find_in_libc(&found_in_libc.dlvsym, "dlvsym");
        find_in_libc(&found_in_libc.dlopen, "dlopen");
        find_in_libc(&found_in_libc.dlmopen, "dlmopen");
        find_in_libc(&found_in_libc.dlclose, "dlclose");
        find_in_libc(&found_in_libc.dlinfo, "dlinfo");
        libc_is_found.store(true, std::memory_order_release);
    }
    return found_in_libc;
}

// A failure leaves the message that dlerror() gives.
void* find_real(Library library, const char* name) {
    for (const char* soname : kSonames[static_cast<size_t>(library)]) {
        if (soname == nullptr) continue;
        void* handle = libc().dlopen(soname, RTLD_LAZY | RTLD_LOCAL);
        void* found = handle != nullptr ? libc().dlsym(handle, name) : nullptr;
        if (found != nullptr && !is_ours(found)) return found;
    }
    return nullptr;
}

void* resolve(uint32_t slot) {
    void* known = real_functions[slot].load(std::memory_order_acquire);
    if (known != nullptr) return known;
    char buffer[name_room];
    void* found = find_real(slot_library(slot), slot_name(slot, buffer));
    if (found == nullptr) return nullptr;
    return real_functions[slot].compare_exchange_strong(known, found, std::memory_order_acq_rel) ? found : known;
}

}  // namespace flexnpu

// Answer the assembler entries of the dl functions: flag 1, the address is the result; 0, the call goes on there.
namespace flexnpu {
namespace {

template <typename Function>
flexnpu_answer go_on(Function function) {
    return {reinterpret_cast<void*>(function), 0};
}

}  // namespace
}  // namespace flexnpu

extern "C" {
#pragma GCC visibility push(hidden)

flexnpu_answer flexnpu_dlsym(void* handle, const char* name) {
    using namespace flexnpu;
    govern_newcomers();
    if (const auto lookups = lookups_of_namespace(handle)) return lookups->dlsym(handle, name);
    const uint32_t slot = handle == RTLD_NEXT ? no_slot : find_slot(name);
    if (slot != no_slot) return {choose(slot, name, libc().dlsym(handle, name)), 1};
    if (handle != RTLD_NEXT) note_unlisted(handle, name);
    return go_on(libc().dlsym);
}

flexnpu_answer flexnpu_dlvsym(void* handle, const char* name, const char* version) {
    using namespace flexnpu;
    govern_newcomers();
    if (const auto lookups = lookups_of_namespace(handle)) return lookups->dlvsym(handle, name, version);
    const uint32_t slot = handle == RTLD_NEXT ? no_slot : find_slot(name);
    if (slot != no_slot) return {choose(slot, name, libc().dlvsym(handle, name, version)), 1};
    if (handle != RTLD_NEXT) note_unlisted(handle, name);
    return go_on(libc().dlvsym);
}

flexnpu_answer flexnpu_dlopen(const char*, int mode) {
    using namespace flexnpu;
    govern_newcomers();
    if ((mode & RTLD_DEEPBIND) != 0) expect_newcomers();
    return go_on(libc().dlopen);
}

flexnpu_answer flexnpu_dlmopen(long space, const char*, int mode) {
    using namespace flexnpu;
    govern_newcomers();
    if ((mode & RTLD_DEEPBIND) != 0) expect_newcomers();
    if (space != LM_ID_BASE) expect_namespaces();
    return go_on(libc().dlmopen);
}

#pragma GCC visibility pop
}
