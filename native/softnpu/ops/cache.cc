// SPDX-License-Identifier: Apache-2.0
//
// The cache belongs to a thread, so nothing here takes a lock.
#include "ops/cache.h"

#include <string>
#include <unordered_map>

namespace softnpu {
namespace {

constexpr size_t kMostPlans = 10000;  // then the thread starts anew

struct ThreadCache {
    bool listing = false;
    std::string key;               // empty: this call is not cached
    std::vector<void*> addresses;  // of the call's storages, in order of the arguments
    std::unordered_map<std::string, std::shared_ptr<const Plan>> plans;
};

ThreadCache& cache() {
    thread_local ThreadCache mine;
    return mine;
}

std::string key_of(uint64_t hash) {
    return hash == 0 ? std::string() : std::string(reinterpret_cast<const char*>(&hash), sizeof hash);
}

aclOpExecutor* find(const std::string& key, uint64_t* workspace_size) {
    ThreadCache& mine = cache();
    const auto found = mine.plans.find(key);
    if (key.empty() || found == mine.plans.end() || found->second->tensors.size() != mine.addresses.size()) {
        return nullptr;
    }
    *workspace_size = 0;
    return new aclOpExecutor{found->second, mine.addresses};
}

}  // namespace

void cache_store(const aclOpExecutor& executor) {
    ThreadCache& mine = cache();
    if (!mine.listing || mine.key.empty() || mine.addresses != executor.addresses) {
        return;
    }
    if (mine.plans.size() >= kMostPlans) {
        mine.plans.clear();
    }
    mine.plans[mine.key] = executor.plan;
}

}  // namespace softnpu

using softnpu::cache;

#define SOFTNPU_EXPORT __attribute__((visibility("default")))

extern "C" {

SOFTNPU_EXPORT void InitPTACacheThreadLocal() {
    cache().listing = true;
    cache().key.clear();
    cache().addresses.clear();
}

SOFTNPU_EXPORT void UnInitPTACacheThreadLocal() {
    cache().listing = false;
    cache().key.clear();
    cache().addresses.clear();
}

SOFTNPU_EXPORT void AddTensorAddrToCachedList(void* address) { cache().addresses.push_back(address); }

SOFTNPU_EXPORT bool CanUsePTACache(const char* /*operator*/) { return true; }

SOFTNPU_EXPORT void SetPTAHashKey(uint64_t hash) { cache().key = softnpu::key_of(hash); }

SOFTNPU_EXPORT aclOpExecutor* PTAGetExecCache(uint64_t hash, uint64_t* workspaceSize) {
    return softnpu::find(softnpu::key_of(hash), workspaceSize);
}

SOFTNPU_EXPORT void SetPTACacheHashKey(uint8_t* key, size_t size) {
    cache().key = key == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(key), size);
}

SOFTNPU_EXPORT aclOpExecutor* PTAFindExecCache(uint8_t* key, size_t size, uint64_t* workspaceSize) {
    return softnpu::find(key == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(key), size),
                         workspaceSize);
}

// Host memory for executors comes from the ordinary heap; there is no pool to open or close.
SOFTNPU_EXPORT int InitHugeMemThreadLocal(void* /*arg*/, bool /*sync*/) { return 0; }
SOFTNPU_EXPORT void UnInitHugeMemThreadLocal(void* /*arg*/, bool /*sync*/) {}
SOFTNPU_EXPORT void ReleaseHugeMem(void* /*arg*/, bool /*sync*/) {}

SOFTNPU_EXPORT aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
    delete executor;
    return ACL_SUCCESS;
}

}  // extern "C"
