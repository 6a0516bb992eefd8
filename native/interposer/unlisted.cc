// SPDX-License-Identifier: Apache-2.0
#include "unlisted.h"

#include <dlfcn.h>
#include <string.h>

#include <string_view>

#include "log.h"
#include "lookup.h"
#include "tenant.h"

namespace flexnpu {
namespace {

using std::string_view;

struct Prefix {
    string_view prefix;
    const char* soname;
};
constexpr Prefix kPrefixes[] = {{"aclrt", "libascendcl.so"}, {"aclmdl", "libascendcl.so"}, {"aclop", "libascendcl.so"},
                                {"aclnn", "libopapi.so"},    {"Hccl", "libhccl.so"},       {"rt", "libruntime.so"}};
// What launches or allocates, and what only sounds like it.
constexpr string_view kVerbs[] = {"Launch", "Malloc", "Alloc", "Execute", "Memcpy", "Memset", "Prefetch"};
constexpr string_view kOthers[] = {"Get",  "Set",     "Create",    "Destroy", "Register",
                                   "Host", "TimeOut", "Allocator", "Buf"};
// Collectives have no verb in common.
constexpr string_view kCollectives[] = {"Reduce",   "Gather", "Scatter", "Alltoall", "AlltoAll",
                                        "AllToAll", "Send",   "Recv",    "Bcast",    "Broadcast"};
constexpr string_view kPhaseOne = "GetWorkspaceSize";

template <size_t count>
bool has_any(string_view name, const string_view (&words)[count]) {
    for (const string_view word : words) {
        if (name.find(word) != string_view::npos) return true;
    }
    return false;
}

const Prefix* prefix_of(string_view name) {
    for (const Prefix& entry : kPrefixes) {
        if (name.starts_with(entry.prefix)) return &entry;
    }
    return nullptr;
}

bool acts(string_view name) {
    if (name.starts_with("aclnn")) return true;  // phase two of an operator: a launch by whatever name
    if (name.starts_with("Hccl")) return has_any(name, kCollectives);
    return has_any(name, kVerbs) && !has_any(name, kOthers);
}

bool exists(void* handle, const char* name, const char* soname) {
    if (handle != RTLD_DEFAULT) return libc().dlsym(handle, name) != nullptr;
    void* library = libc().dlopen(soname, RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) return false;
    const bool found = libc().dlsym(library, name) != nullptr;
    libc().dlclose(library);
    return found;
}

// Names that were told, by their hashes. Full: what comes after is not told.
constexpr size_t kTold = 1024;
constinit std::atomic<uint64_t> told[kTold];
constinit std::atomic<uint32_t> unreported{0};

bool is_first(string_view name) {
    uint64_t hash = 14695981039346656037u;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    hash |= 1;
    for (size_t i = 0; i < kTold; ++i) {
        uint64_t there = 0;
        std::atomic<uint64_t>& place = told[(hash + i) % kTold];
        if (place.compare_exchange_strong(there, hash, std::memory_order_relaxed)) return true;
        if (there == hash) return false;
    }
    return false;
}

}  // namespace

void note_unlisted(void* handle, const char* name) {
    if (name == nullptr) return;
    const Prefix* entry = prefix_of(name);
    // Phase one of an unlisted operator only tiles; its phase two is told.
    if (entry == nullptr || !acts(name) || string_view(name).ends_with(kPhaseOne)) return;
    if (!exists(handle, name, entry->soname) || !is_first(name)) return;
    log(Level::info, "%s is not in the tables: its calls are neither counted nor charged", name);
    unreported.fetch_add(1, std::memory_order_relaxed);
    if (tenant.attached.load(std::memory_order_acquire)) report_unlisted();
}

void report_unlisted() {
    for (uint32_t count = unreported.exchange(0, std::memory_order_relaxed); count > 0; --count) {
        tenant.report.ungoverned();
    }
}

}  // namespace flexnpu
