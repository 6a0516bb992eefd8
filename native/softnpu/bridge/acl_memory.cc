// SPDX-License-Identifier: Apache-2.0
//
// Memory entries: device, host, physical and virtual, copies.
#include <flexnpu_abi/acl_rt.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "bridge/check.h"

using softnpu::DeviceState;
using softnpu::fail;
using softnpu::Physical;
using softnpu::Process;
using softnpu::Stream;
using softnpu::Task;
using softnpu::TaskKind;

namespace {

// Pinned host memory: what aclrtMallocHost gave and aclrtHostRegister named, start -> size.
class HostRanges {
  public:
    void add(const void* address, uint64_t bytes) {
        const std::lock_guard lock(mutex_);
        ranges_[reinterpret_cast<uintptr_t>(address)] = bytes;
    }
    bool remove(const void* address) {
        const std::lock_guard lock(mutex_);
        return ranges_.erase(reinterpret_cast<uintptr_t>(address)) != 0;
    }
    bool contains(const void* address) {
        const std::lock_guard lock(mutex_);
        const auto key = reinterpret_cast<uintptr_t>(address);
        auto next = ranges_.upper_bound(key);
        return next != ranges_.begin() && key < std::prev(next)->first + std::prev(next)->second;
    }

  private:
    std::mutex mutex_;
    std::map<uintptr_t, uint64_t> ranges_;
};

HostRanges& host_ranges() {
    static auto* ranges = new HostRanges();
    return *ranges;
}

aclError out_of_memory(DeviceState& state, size_t asked) {
    return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "device %u is out of memory: %zu bytes asked, %llu of %llu used",
                state.index(), asked, static_cast<unsigned long long>(state.device().memory_used()),
                static_cast<unsigned long long>(state.device().memory_total()));
}

aclError check_copy(const void* dst, size_t destMax, const void* src, size_t count) {
    if (count == 0) {
        return ACL_SUCCESS;
    }
    if (dst == nullptr || src == nullptr || count > destMax) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "copy of %zu bytes from %p to %p, which holds %zu", count, src, dst,
                    destMax);
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
    host_ranges().add(*hostPtr, size);
    return ACL_SUCCESS;
}

aclError aclrtMallocHostWithCfg(void** ptr, uint64_t size, aclrtMallocConfig* /*cfg*/) {
    return aclrtMallocHost(ptr, size);
}

aclError aclrtFreeHost(void* hostPtr) {
    if (!host_ranges().remove(hostPtr)) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtFreeHost: %p did not come from aclrtMallocHost", hostPtr);
    }
    std::free(hostPtr);
    return ACL_SUCCESS;
}

aclError aclrtHostRegister(void* ptr, uint64_t size, aclrtHostRegisterType /*type*/, void** devPtr) {
    SOFTNPU_NEED(ptr);
    host_ranges().add(ptr, size);
    if (devPtr != nullptr) {
        *devPtr = ptr;
    }
    return ACL_SUCCESS;
}

aclError aclrtHostRegisterV2(void* ptr, uint64_t size, uint32_t /*flag*/) {
    SOFTNPU_NEED(ptr);
    host_ranges().add(ptr, size);
    return ACL_SUCCESS;
}

aclError aclrtHostUnregister(void* ptr) {
    return host_ranges().remove(ptr)
               ? ACL_SUCCESS
               : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtHostUnregister: %p is not registered", ptr);
}

aclError aclrtPointerGetAttributes(const void* ptr, aclrtPtrAttributes* attributes) {
    SOFTNPU_NEED(attributes);
    *attributes = {};
    attributes->location.type = ACL_MEM_LOCATION_TYPE_UNREGISTERED;
    for (uint32_t index = 0; index < Process::get().options().devices; ++index) {
        const DeviceState* state = Process::get().opened(index);
        if (state != nullptr && state->is_device_memory(ptr)) {
            attributes->location = {index, ACL_MEM_LOCATION_TYPE_DEVICE};
            return ACL_SUCCESS;
        }
    }
    if (host_ranges().contains(ptr)) {
        attributes->location.type = ACL_MEM_LOCATION_TYPE_HOST;
    }
    return ACL_SUCCESS;
}

aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind /*kind*/) {
    SOFTNPU_CURRENT(state);
    const aclError error = check_copy(dst, destMax, src, count);
    if (error == ACL_SUCCESS && count != 0) {
        state->copy_now(dst, src, count);
    }
    return error;
}

aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind /*kind*/,
                          aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    const aclError error = check_copy(dst, destMax, src, count);
    if (error == ACL_SUCCESS && count != 0) {
        Task task{TaskKind::copy};
        task.destination = dst;
        task.source = src;
        task.bytes = count;
        return queue->enqueue(task);
    }
    return error;
}

aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count) {
    SOFTNPU_CURRENT(state);
    const aclError error = check_copy(devPtr, maxCount, devPtr, count);
    if (error == ACL_SUCCESS && count != 0) {
        state->fill_now(devPtr, value, count);
    }
    return error;
}

aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream) {
    SOFTNPU_STREAM(queue, stream);
    const aclError error = check_copy(devPtr, maxCount, devPtr, count);
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
    for (uint32_t index = 0; index < Process::get().options().devices; ++index) {
        DeviceState* state = Process::get().opened(index);
        if (state != nullptr && state->memory().contains(virPtr)) {
            state->synchronize(-1);
            return state->memory().unmap(virPtr)
                       ? ACL_SUCCESS
                       : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtUnmapMem: %p is not the start of a mapping", virPtr);
        }
    }
    return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtUnmapMem: %p is not mapped", virPtr);
}

}  // extern "C"
