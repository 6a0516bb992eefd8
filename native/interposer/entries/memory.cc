// SPDX-License-Identifier: Apache-2.0
// Device memory. A charge comes before the device is asked (closed: over the limit nothing is allocated), a refund
// after the device has freed. What another process owns and this one imports is charged there, not here.
#include "blocks.h"
#include "communicators.h"
#include "entries/ordinal.h"
#include "pools.h"

namespace flexnpu {
namespace {

bool pool_reserve(const void* pool, uint64_t* bytes) {
    const auto ask = reinterpret_cast<decltype(&::aclrtMemPoolGetAttr)>(real_function(slot_aclrtMemPoolGetAttr));
    return ask != nullptr &&
           ask(const_cast<void*>(pool), ACL_RT_MEM_POOL_ATTR_RESERVED_MEM_CURRENT, bytes) == ACL_SUCCESS;
}

// What pools were charged for and have given back to the device meanwhile is counted before anything is denied.
bool charge(uint32_t ordinal, uint64_t bytes) {
    DeviceTenant& device = tenant.devices[ordinal];
    if (device.ledger.charge(bytes, device.quota.memory_bytes())) return true;
    settle_pools(ordinal, pool_reserve);
    return device.ledger.charge(bytes, device.quota.memory_bytes());
}

aclError deny(uint32_t ordinal, uint64_t asked) {
    tell_denied(ordinal, asked);
    return ACL_ERROR_RT_MEMORY_ALLOCATION;
}

// `place` is where the real function puts the new block's address.
constexpr auto on_allocate = [](auto real, void** place, auto size, auto... rest) {
    if (spend_reserve(size)) {
        const aclError status = real(place, size, rest...);
        if (status != ACL_SUCCESS) unspend_reserve(size);
        return status;
    }
    const Block block{static_cast<uint64_t>(size), here_ordinal()};
    if (!charge(block.ordinal, size)) return deny(block.ordinal, size);
    const aclError status = real(place, size, rest...);
    if (status == ACL_SUCCESS) {
        remember_block(*place, block);
    } else {
        refund_block(block);
    }
    return status;
};
constexpr auto on_aclrtMalloc = on_allocate;
constexpr auto on_aclrtMallocAlign32 = on_allocate;
constexpr auto on_aclrtMallocCached = on_allocate;
constexpr auto on_aclrtMallocWithCfg = on_allocate;
constexpr auto on_aclrtMallocForTaskScheduler = on_allocate;
constexpr auto on_aclrtMemAllocManaged = on_allocate;

// The layer below, for direct callers.
constexpr auto on_rtMallocCached = on_allocate;
constexpr auto on_rtMemAlloc = on_allocate;
constexpr auto on_rtsMalloc = on_allocate;
constexpr auto on_rtDvppMalloc = on_allocate;
constexpr auto on_rtDvppMallocWithFlag = on_allocate;
constexpr auto on_rtMemAllocManaged = on_allocate;
constexpr auto on_rtMemPoolMallocAsync = on_allocate;

int on_rtMalloc(decltype(&::rtMalloc) real, void** block, uint64_t size, uint32_t type, uint16_t moduleId) {
    if (type == RT_MEMORY_HOST || type == RT_MEMORY_HOST_SVM) return real(block, size, type, moduleId);
    return on_allocate(real, block, size, type, moduleId);
}

// Forgotten before the call and put back when the device refuses: its answer is the program's, and nothing is refunded
// twice.
constexpr auto on_free = [](auto real, void* address, auto... rest) {
    const Block block = forget_block(address);
    const aclError status = real(address, rest...);
    if (status == ACL_SUCCESS) {
        refund_block(block);
    } else {
        remember_block(address, block);
    }
    return status;
};
constexpr auto on_aclrtFree = on_free;
constexpr auto on_aclrtFreeWithDevSync = on_free;
constexpr auto on_aclrtMemPoolFreeAsync = on_free;
constexpr auto on_rtFree = on_free;
constexpr auto on_rtsFree = on_free;
constexpr auto on_rtFreeWithDevSync = on_free;
constexpr auto on_rtDvppFree = on_free;
constexpr auto on_rtMemFreeManaged = on_free;
constexpr auto on_rtMemPoolFreeAsync = on_free;

// A block known by its handle: what is mapped of it lives on after the handle was freed.
template <typename Allocate>
aclError allocate_physical(void** handle, uint64_t size, uint32_t ordinal, Allocate allocate) {
    const Block block{size, ordinal};
    if (!charge(ordinal, size)) return deny(ordinal, size);
    const aclError status = allocate();
    if (status == ACL_SUCCESS) {
        remember_physical(*handle, block);
    } else {
        refund_block(block);
    }
    return status;
}

template <typename Free>
aclError free_physical(void* handle, Free free) {
    const Dropped dropped = drop_physical(handle);
    const aclError status = free();
    if (status == ACL_SUCCESS) {
        refund_block(dropped.price);
    } else {
        restore_physical(handle, dropped);
    }
    return status;
}

aclError on_aclrtMallocPhysical(decltype(&::aclrtMallocPhysical) real, aclrtDrvMemHandle* handle, size_t size,
                                const aclrtPhysicalMemProp* prop, uint64_t flags) {
    if (prop == nullptr) return real(handle, size, prop, flags);
    aclrtPhysicalMemProp placed = *prop;
    locate_physical(placed.location);
    if (prop->location.type == ACL_MEM_LOCATION_TYPE_HOST || prop->location.type == ACL_MEM_LOCATION_TYPE_HOST_NUMA) {
        return real(handle, size, &placed, flags);
    }
    return allocate_physical(handle, size, ordinal_at(placed.location),
                             [&] { return real(handle, size, &placed, flags); });
}

aclError on_aclrtFreePhysical(decltype(&::aclrtFreePhysical) real, aclrtDrvMemHandle handle) {
    return free_physical(handle, [&] { return real(handle); });
}

int on_rtMallocPhysical(decltype(&::rtMallocPhysical) real, void** handle, size_t size, void* prop, uint64_t flags) {
    const auto* head = static_cast<const rtDrvMemPropHead*>(prop);
    if (head == nullptr || head->side != RT_DRV_SIDE_DEVICE) return real(handle, size, prop, flags);
    return allocate_physical(handle, size, here_ordinal(), [&] { return real(handle, size, prop, flags); });
}

int on_rtsMemMallocPhysical(decltype(&::rtsMemMallocPhysical) real, void** handle, size_t size, int policy, void* cfg) {
    return allocate_physical(handle, size, here_ordinal(), [&] { return real(handle, size, policy, cfg); });
}

int on_rtFreePhysical(decltype(&::rtFreePhysical) real, void* handle) {
    return free_physical(handle, [&] { return real(handle); });
}

int on_rtsMemFreePhysical(decltype(&::rtsMemFreePhysical) real, void** handle) {
    if (handle == nullptr) return real(handle);
    return free_physical(*handle, [&] { return real(handle); });
}

aclError on_aclrtMapMem(decltype(&::aclrtMapMem) real, void* virPtr, size_t size, size_t offset,
                        aclrtDrvMemHandle handle, uint64_t flags) {
    const aclError status = real(virPtr, size, offset, handle, flags);
    if (status == ACL_SUCCESS) mapped_physical(virPtr, handle);
    return status;
}

aclError on_aclrtUnmapMem(decltype(&::aclrtUnmapMem) real, void* virPtr) {
    const aclError status = real(virPtr);
    if (status == ACL_SUCCESS) refund_block(drop_mapping(virPtr));
    return status;
}

aclError on_aclrtMemRetainAllocationHandle(decltype(&::aclrtMemRetainAllocationHandle) real, void* virPtr,
                                           aclrtDrvMemHandle* handle) {
    const aclError status = real(virPtr, handle);
    if (status == ACL_SUCCESS) retained_physical(*handle, virPtr);
    return status;
}

aclError on_aclrtMemPoolCreate(decltype(&::aclrtMemPoolCreate) real, aclrtMemPool* memPool,
                               const aclrtMemPoolProps* poolProps) {
    if (poolProps == nullptr) return real(memPool, poolProps);
    aclrtMemPoolProps placed = *poolProps;
    locate_physical(placed.location);
    const aclError status = real(memPool, &placed);
    if (status == ACL_SUCCESS) open_pool(*memPool, ordinal_at(placed.location));
    return status;
}

aclError on_aclrtMemPoolMallocAsync(decltype(&::aclrtMemPoolMallocAsync) real, void** ptr, size_t size,
                                    aclrtMemPool memPool, aclrtStream stream) {
    const uint32_t pool = find_pool(memPool);
    if (pool == 0) return on_allocate(real, ptr, size, memPool, stream);
    const Block block{size, pool_ordinal(pool), pool};
    if (!take_from_pool(pool, size)) {
        settle_pools(block.ordinal, pool_reserve);
        if (!take_from_pool(pool, size)) return deny(block.ordinal, size);
    }
    const aclError status = real(ptr, size, memPool, stream);
    if (status == ACL_SUCCESS) {
        remember_block(*ptr, block);
    } else {
        give_to_pool(pool, size);
    }
    return status;
}

constexpr auto on_aclrtMemPoolGetAttr = [](auto real, auto... arguments) { return real(arguments...); };

aclError on_aclrtMemPoolTrimTo(decltype(&::aclrtMemPoolTrimTo) real, aclrtMemPool memPool, size_t minBytesToKeep) {
    const aclError status = real(memPool, minBytesToKeep);
    const uint32_t pool = find_pool(memPool);
    if (status != ACL_SUCCESS || pool == 0) return status;
    // A block that was freed behind work that still runs is kept in spite of it.
    uint64_t kept = 0;
    trim_pool(pool, pool_reserve(memPool, &kept) && kept > minBytesToKeep ? kept : minBytesToKeep);
    return status;
}

// Closed before the call, since afterwards a new pool may have the same handle.
aclError on_aclrtMemPoolDestroy(decltype(&::aclrtMemPoolDestroy) real, const aclrtMemPool memPool) {
    const uint32_t pool = find_pool(memPool);
    if (pool != 0) close_pool(pool);
    return real(memPool);
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
    if (find_device(deviceId, &physical) == nullptr) return ACL_ERROR_RT_INVALID_DEVICEID;
    return real(shareableHandle, physical, handle);
}

aclError on_aclrtMemSetAccess(decltype(&::aclrtMemSetAccess) real, void* virPtr, size_t size, aclrtMemAccessDesc* desc,
                              size_t count) {
    // One at a time, as a copy of all of them would need memory.
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
    if (find_device(deviceId, &physical) == nullptr) return ACL_ERROR_RT_INVALID_DEVICEID;
    return real(physical, memUsageInfo, inputNum, outputNum);
}

}  // namespace

#define FLEXNPU_MEMORY(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::memory, on_##name)
#include "functions.def"

}  // namespace flexnpu
