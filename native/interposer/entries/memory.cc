// SPDX-License-Identifier: Apache-2.0
// Device memory. A charge comes before the device is asked (closed: over the limit nothing is allocated), a refund
// after the device has freed. What another process owns and this one imports is charged there, not here.
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

aclError deny(uint64_t asked) {
    here().report.denied();
    log(Level::warn, "out of device memory: %llu bytes asked, %llu of %llu used: raise the vNPU's memory",
        static_cast<unsigned long long>(asked), static_cast<unsigned long long>(here().ledger.used()),
        static_cast<unsigned long long>(here().quota.memory_bytes()));
    return ACL_ERROR_RT_MEMORY_ALLOCATION;
}

// An allocation: `block` is where the real function puts the new block's address or handle.
template <typename Size, typename Allocate>
aclError charged(void** block, Size size, Allocate allocate) {
    if (!here().ledger.charge(size, here().quota.memory_bytes())) return deny(size);
    const aclError status = allocate();
    if (status != ACL_SUCCESS) {
        here().ledger.refund(size);
    } else {
        here().ledger.remember(*block, size);
    }
    return status;
}

// Forgotten before the call, since afterwards another thread may own a block at the same address.
template <typename Free>
aclError refunded(void* block, Free free) {
    const uint64_t bytes = here().ledger.forget(block);
    const aclError status = free();
    if (bytes == 0) return status;
    if (status == ACL_SUCCESS) {
        here().ledger.refund(bytes);
    } else {
        here().ledger.remember(block, bytes);
    }
    return status;
}

constexpr auto on_allocate = [](auto real, void** block, auto size, auto... rest) {
    return charged(block, size, [&] { return real(block, size, rest...); });
};
constexpr auto on_aclrtMalloc = on_allocate;
constexpr auto on_aclrtMallocAlign32 = on_allocate;
constexpr auto on_aclrtMallocCached = on_allocate;
constexpr auto on_aclrtMallocWithCfg = on_allocate;
constexpr auto on_aclrtMallocForTaskScheduler = on_allocate;
constexpr auto on_aclrtMemAllocManaged = on_allocate;
// What a pool keeps in reserve beyond its blocks is the pool's, and not charged (open).
constexpr auto on_aclrtMemPoolMallocAsync = on_allocate;
// The layer below, for direct callers.
constexpr auto on_rtMallocCached = on_allocate;
constexpr auto on_rtMemAlloc = on_allocate;
constexpr auto on_rtsMalloc = on_allocate;
constexpr auto on_rtDvppMalloc = on_allocate;
constexpr auto on_rtDvppMallocWithFlag = on_allocate;
constexpr auto on_rtMemAllocManaged = on_allocate;
constexpr auto on_rtMemPoolMallocAsync = on_allocate;
constexpr auto on_rtsMemMallocPhysical = on_allocate;

int on_rtMalloc(decltype(&::rtMalloc) real, void** block, uint64_t size, uint32_t type, uint16_t moduleId) {
    if (type == RT_MEMORY_HOST || type == RT_MEMORY_HOST_SVM) return real(block, size, type, moduleId);
    return on_allocate(real, block, size, type, moduleId);
}

int on_rtMallocPhysical(decltype(&::rtMallocPhysical) real, void** handle, size_t size, void* prop, uint64_t flags) {
    const auto* head = static_cast<const rtDrvMemPropHead*>(prop);
    if (head == nullptr || head->side != RT_DRV_SIDE_DEVICE) return real(handle, size, prop, flags);
    return on_allocate(real, handle, size, prop, flags);
}

constexpr auto on_free = [](auto real, void* block, auto... rest) {
    return refunded(block, [&] { return real(block, rest...); });
};
constexpr auto on_aclrtFree = on_free;
constexpr auto on_aclrtFreeWithDevSync = on_free;
constexpr auto on_aclrtMemPoolFreeAsync = on_free;
constexpr auto on_aclrtFreePhysical = on_free;
constexpr auto on_rtFree = on_free;
constexpr auto on_rtsFree = on_free;
constexpr auto on_rtFreeWithDevSync = on_free;
constexpr auto on_rtDvppFree = on_free;
constexpr auto on_rtMemFreeManaged = on_free;
constexpr auto on_rtMemPoolFreeAsync = on_free;
constexpr auto on_rtFreePhysical = on_free;

int on_rtsMemFreePhysical(decltype(&::rtsMemFreePhysical) real, void** handle) {
    return handle != nullptr ? refunded(*handle, [&] { return real(handle); }) : real(handle);
}

aclError on_aclrtMallocPhysical(decltype(&::aclrtMallocPhysical) real, aclrtDrvMemHandle* handle, size_t size,
                                const aclrtPhysicalMemProp* prop, uint64_t flags) {
    if (prop == nullptr) return real(handle, size, prop, flags);
    aclrtPhysicalMemProp placed = *prop;
    locate_physical(placed.location);
    if (prop->location.type == ACL_MEM_LOCATION_TYPE_HOST || prop->location.type == ACL_MEM_LOCATION_TYPE_HOST_NUMA) {
        return real(handle, size, &placed, flags);
    }
    return charged(handle, size, [&] { return real(handle, size, &placed, flags); });
}

aclError on_aclrtMemPoolCreate(decltype(&::aclrtMemPoolCreate) real, aclrtMemPool* memPool,
                               const aclrtMemPoolProps* poolProps) {
    if (poolProps == nullptr) return real(memPool, poolProps);
    aclrtMemPoolProps placed = *poolProps;
    locate_physical(placed.location);
    return real(memPool, &placed);
}

aclError on_aclrtMemGetAllocationGranularity(decltype(&::aclrtMemGetAllocationGranularity) real,
                                             aclrtPhysicalMemProp* prop, aclrtMemGranularityOptions option,
                                             size_t* granularity) {
    if (prop == nullptr) return real(prop, option, granularity);
    aclrtPhysicalMemProp placed = *prop;
    locate_physical(placed.location);
    return real(&placed, option, granularity);
}

aclError on_aclrtMemGetAllocationPropertiesFromHandle(decltype(&::aclrtMemGetAllocationPropertiesFromHandle) real,
                                                      aclrtDrvMemHandle handle, aclrtPhysicalMemProp* prop) {
    const aclError status = real(handle, prop);
    if (status == ACL_SUCCESS) locate_seen(prop->location);
    return status;
}

aclError on_aclrtMemImportFromShareableHandle(decltype(&::aclrtMemImportFromShareableHandle) real,
                                              uint64_t shareableHandle, int32_t deviceId, aclrtDrvMemHandle* handle) {
    int32_t physical = deviceId;
    if (!within(Guard::ordinal) && !to_physical(deviceId, &physical)) return ACL_ERROR_RT_INVALID_DEVICEID;
    return real(shareableHandle, physical, handle);
}

aclError on_aclrtMemSetAccess(decltype(&::aclrtMemSetAccess) real, void* virPtr, size_t size, aclrtMemAccessDesc* desc,
                              size_t count) {
    // One at a time: a vNPU has one device, so there is one description in practice.
    if (desc == nullptr || count == 0) return real(virPtr, size, desc, count);
    for (size_t i = 0; i < count; ++i) {
        aclrtMemAccessDesc placed = desc[i];
        locate_physical(placed.location);
        const aclError status = real(virPtr, size, &placed, 1);
        if (status != ACL_SUCCESS) return status;
    }
    return ACL_SUCCESS;
}

aclError on_aclrtMemGetAccess(decltype(&::aclrtMemGetAccess) real, void* virPtr, aclrtMemLocation* location,
                              uint64_t* flag) {
    if (location == nullptr) return real(virPtr, location, flag);
    aclrtMemLocation placed = *location;
    locate_physical(placed);
    return real(virPtr, &placed, flag);
}

aclError on_aclrtPointerGetAttributes(decltype(&::aclrtPointerGetAttributes) real, const void* ptr,
                                      aclrtPtrAttributes* attributes) {
    const aclError status = real(ptr, attributes);
    if (status == ACL_SUCCESS) locate_seen(attributes->location);
    return status;
}

// The vNPU's memory is its limit, or what the device has where that is less.
aclError seen_memory(aclError status, size_t* free, size_t* total) {
    if (status != ACL_SUCCESS) return status;
    const uint64_t limit = here().quota.memory_bytes();
    const uint64_t used = here().ledger.used();
    const uint64_t left = used < limit ? limit - used : 0;
    if (*total > limit) *total = limit;
    if (*free > left) *free = left;
    return status;
}

aclError on_aclrtGetMemInfo(decltype(&::aclrtGetMemInfo) real, aclrtMemAttr attr, size_t* free, size_t* total) {
    return seen_memory(real(attr, free, total), free, total);
}
int on_rtMemGetInfo(decltype(&::rtMemGetInfo) real, size_t* free, size_t* total) {
    return seen_memory(real(free, total), free, total);
}
int on_rtMemGetInfoEx(decltype(&::rtMemGetInfoEx) real, uint32_t type, size_t* free, size_t* total) {
    return seen_memory(real(type, free, total), free, total);
}
constexpr auto on_rtsMemGetInfo = on_rtMemGetInfoEx;

aclError on_aclrtGetMemUsageInfo(decltype(&::aclrtGetMemUsageInfo) real, int32_t deviceId,
                                 aclrtMemUsageInfo* memUsageInfo, size_t inputNum, size_t* outputNum) {
    int32_t physical = 0;
    if (!to_physical(deviceId, &physical)) return ACL_ERROR_RT_INVALID_DEVICEID;
    return real(physical, memUsageInfo, inputNum, outputNum);
}

}  // namespace

#define FLEXNPU_MEMORY(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::memory, on_##name)
#include "functions.def"

}  // namespace flexnpu
