// SPDX-License-Identifier: Apache-2.0
//
// Memory entries: device, host, physical and virtual, copies.
#include <flexnpu_abi/acl_rt.h>

#include <cstdlib>

#include "bridge/check.h"

using softnpu::DeviceState;
using softnpu::fail;
using softnpu::Physical;
using softnpu::Process;
using softnpu::Stream;
using softnpu::Task;
using softnpu::TaskKind;

namespace {

aclError out_of_memory(DeviceState& state, size_t asked) {
    return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "device %u is out of memory: %zu bytes asked, %llu of %llu used",
                state.index(), asked, static_cast<unsigned long long>(state.device().memory_used()),
                static_cast<unsigned long long>(state.device().memory_total()));
}

// Whether a device can reach all of it: device memory, or host memory that is pinned.
bool reachable(const void* address, size_t bytes) {
    const Process& process = Process::get();
    const auto* last = static_cast<const char*>(address) + bytes - 1;
    return (process.device_of(address) != nullptr && process.device_of(last) != nullptr) ||
           (process.pinned().contains(address) && process.pinned().contains(last));
}

// `kind` says which of the two must be device memory; by default either may be anything.
aclError check_copy(const void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind) {
    if (count == 0) {
        return ACL_SUCCESS;
    }
    if (dst == nullptr || src == nullptr || count > destMax) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "copy of %zu bytes from %p to %p, which holds %zu", count, src, dst,
                    destMax);
    }
    const bool inside = kind == ACL_MEMCPY_DEVICE_TO_DEVICE || kind == ACL_MEMCPY_INNER_DEVICE_TO_DEVICE ||
                        kind == ACL_MEMCPY_INTER_DEVICE_TO_DEVICE;
    const auto foreign = [&](const char* what, const void* address) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "copy of %zu bytes: the %s %p is not device memory of this process, or is freed", count, what,
                    address);
    };
    if ((inside || kind == ACL_MEMCPY_HOST_TO_DEVICE) && !reachable(dst, count)) {
        return foreign("destination", dst);
    }
    if ((inside || kind == ACL_MEMCPY_DEVICE_TO_HOST) && !reachable(src, count)) {
        return foreign("source", src);
    }
    return ACL_SUCCESS;
}

aclError check_fill(const void* address, size_t room, size_t count) {
    if (count == 0) {
        return ACL_SUCCESS;
    }
    if (address == nullptr || count > room || !reachable(address, count)) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "fill of %zu bytes at %p, which is not device memory of that size",
                    count, address);
    }
    return ACL_SUCCESS;
}

template <typename CopyOne>
aclError each_copy(size_t count, size_t* failed, CopyOne copy) {
    for (size_t i = 0; i < count; ++i) {
        const aclError error = copy(i);
        if (error != ACL_SUCCESS) {
            if (failed != nullptr) {
                *failed = i;
            }
            return error;
        }
    }
    return ACL_SUCCESS;
}

}  // namespace

extern "C" {

aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy /*policy*/) {
    SOFTNPU_NEED(devPtr);
    SOFTNPU_CURRENT(state);
    if (size == 0) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtMalloc: size is 0, must be at least 1");
    }
    *devPtr = state->memory().allocate(size);
    return *devPtr != nullptr ? ACL_SUCCESS : out_of_memory(*state, size);
}

aclError aclrtMallocAlign32(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
    return aclrtMalloc(devPtr, size, policy);
}

aclError aclrtMallocCached(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
    return aclrtMalloc(devPtr, size, policy);
}

aclError aclrtMallocWithCfg(void** devPtr, size_t size, aclrtMemMallocPolicy policy, aclrtMallocConfig* /*cfg*/) {
    return aclrtMalloc(devPtr, size, policy);
}

aclError aclrtFree(void* devPtr) {
    SOFTNPU_NEED(devPtr);
    SOFTNPU_CURRENT(state);
    // Work that still uses the memory ends first, as a free on the device waits for it.
    state->synchronize(-1);
    if (!state->memory().release(devPtr)) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtFree: %p is not an allocation of this process on device %u",
                    devPtr, state->index());
    }
    return ACL_SUCCESS;
}

aclError aclrtMallocHost(void** hostPtr, size_t size) {
    SOFTNPU_NEED(hostPtr);
    *hostPtr = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (*hostPtr == nullptr) {
        return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "aclrtMallocHost: the host has no %zu bytes", size);
    }
    Process::get().pinned().add(*hostPtr, size);
    return ACL_SUCCESS;
}

aclError aclrtMallocHostWithCfg(void** ptr, uint64_t size, aclrtMallocConfig* /*cfg*/) {
    return aclrtMallocHost(ptr, size);
}

aclError aclrtFreeHost(void* hostPtr) {
    if (Process::get().pinned().remove(hostPtr) == 0) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtFreeHost: %p did not come from aclrtMallocHost", hostPtr);
    }
    std::free(hostPtr);
    return ACL_SUCCESS;
}

aclError aclrtHostRegister(void* ptr, uint64_t size, aclrtHostRegisterType /*type*/, void** devPtr) {
    SOFTNPU_NEED(ptr);
    Process::get().pinned().add(ptr, size);
    if (devPtr != nullptr) {
        *devPtr = ptr;
    }
    return ACL_SUCCESS;
}

aclError aclrtHostRegisterV2(void* ptr, uint64_t size, uint32_t /*flag*/) {
    SOFTNPU_NEED(ptr);
    Process::get().pinned().add(ptr, size);
    return ACL_SUCCESS;
}

aclError aclrtHostUnregister(void* ptr) {
    return Process::get().pinned().remove(ptr) != 0
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtHostUnregister: %p is not registered", ptr);
}

aclError aclrtPointerGetAttributes(const void* ptr, aclrtPtrAttributes* attributes) {
    SOFTNPU_NEED(attributes);
    *attributes = {};
    attributes->location.type = ACL_MEM_LOCATION_TYPE_UNREGISTERED;
    if (const DeviceState* owner = Process::get().device_of(ptr)) {
        attributes->location = {owner->index(), ACL_MEM_LOCATION_TYPE_DEVICE};
        return ACL_SUCCESS;
    }
    if (Process::get().pinned().contains(ptr)) {
        attributes->location.type = ACL_MEM_LOCATION_TYPE_HOST;
    }
    return ACL_SUCCESS;
}

aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind) {
    SOFTNPU_CURRENT(state);
    const aclError error = check_copy(dst, destMax, src, count, kind);
    if (error == ACL_SUCCESS && count != 0) {
        state->copy_now(dst, src, count);
    }
    return error;
}

aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind,
                          aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    const aclError error = check_copy(dst, destMax, src, count, kind);
    if (error == ACL_SUCCESS && count != 0) {
        Task task{TaskKind::copy};
        task.destination = dst;
        task.source = src;
        task.bytes = count;
        return queue->enqueue(task);
    }
    return error;
}

// Each copy with its own places and sizes; where they lie is told by the addresses. `failIndex`: the first that was
// refused.
aclError aclrtMemcpyBatch(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                          aclrtMemcpyBatchAttr* /*attrs*/, size_t* /*attrsIndexes*/, size_t /*numAttrs*/,
                          size_t* failIndex) {
    return each_copy(numBatches, failIndex, [&](size_t i) {
        return aclrtMemcpy(dsts[i], destMaxs[i], srcs[i], sizes[i], ACL_MEMCPY_DEFAULT);
    });
}

aclError aclrtMemcpyBatchAsync(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                               aclrtMemcpyBatchAttr* /*attrs*/, size_t* /*attrsIndexes*/, size_t /*numAttrs*/,
                               size_t* failIndex, aclrtStream stream) {
    return each_copy(numBatches, failIndex, [&](size_t i) {
        return aclrtMemcpyAsync(dsts[i], destMaxs[i], srcs[i], sizes[i], ACL_MEMCPY_DEFAULT, stream);
    });
}

// A prefetch takes its time and is in the L2 after; the other kinds have nothing to do.
aclError aclrtCmoAsync(void* src, size_t size, aclrtCmoType cmoType, aclrtStream stream) {
    SOFTNPU_NEED(src);
    SOFTNPU_STREAM(queue, stream);
    if (cmoType != ACL_RT_CMO_TYPE_PREFETCH || size == 0) {
        return ACL_SUCCESS;
    }
    Task task{TaskKind::prefetch};
    task.source = src;
    task.bytes = size;
    return queue->enqueue(task);
}

aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count) {
    SOFTNPU_CURRENT(state);
    const aclError error = check_fill(devPtr, maxCount, count);
    if (error == ACL_SUCCESS && count != 0) {
        state->fill_now(devPtr, value, count);
    }
    return error;
}

aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    const aclError error = check_fill(devPtr, maxCount, count);
    if (error == ACL_SUCCESS && count != 0) {
        Task task{TaskKind::fill};
        task.destination = devPtr;
        task.value = value;
        task.bytes = count;
        return queue->enqueue(task);
    }
    return error;
}

aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t size, const aclrtPhysicalMemProp* prop,
                             uint64_t /*flags*/) {
    SOFTNPU_NEED(handle);
    SOFTNPU_NEED(prop);
    DeviceState* state = Process::get().device(prop->location.id);
    if (state == nullptr) {
        return softnpu::last_error(false);
    }
    *handle = state->memory().allocate_physical(size);
    return *handle != nullptr ? ACL_SUCCESS : out_of_memory(*state, size);
}

aclError aclrtFreePhysical(aclrtDrvMemHandle handle) {
    SOFTNPU_NEED(handle);
    auto* physical = static_cast<Physical*>(handle);
    physical->owner->release_physical(physical);
    return ACL_SUCCESS;
}

aclError aclrtReserveMemAddress(void** virPtr, size_t size, size_t /*alignment*/, void* /*expectPtr*/,
                                uint64_t /*flags*/) {
    SOFTNPU_NEED(virPtr);
    *virPtr = Process::get().addresses().reserve(size);
    return *virPtr != nullptr ? ACL_SUCCESS
                              : fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "no %zu bytes of address space to reserve", size);
}

aclError aclrtReleaseMemAddress(void* virPtr) {
    return Process::get().addresses().release(virPtr)
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtReleaseMemAddress: %p is not reserved", virPtr);
}

aclError aclrtMapMem(void* virPtr, size_t size, size_t offset, aclrtDrvMemHandle handle, uint64_t /*flags*/) {
    SOFTNPU_NEED(handle);
    const auto& physical = *static_cast<Physical*>(handle);
    return Process::get().addresses().contains(virPtr) && physical.owner->map(virPtr, size, offset, physical)
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_PARAM_INVALID,
                      "aclrtMapMem: %zu bytes at %p are not reserved, or pass the end of the memory", size, virPtr);
}

aclError aclrtUnmapMem(void* virPtr) {
    DeviceState* state = Process::get().device_of(virPtr);
    if (state == nullptr) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtUnmapMem: %p is not mapped", virPtr);
    }
    state->synchronize(-1);
    return state->memory().unmap(virPtr)
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtUnmapMem: %p is not the start of a mapping", virPtr);
}

}  // extern "C"
