// SPDX-License-Identifier: Apache-2.0
//
// What a program asks about the device, and the core limits that tile operators.
#include <flexnpu_abi/acl_rt.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "bridge/check.h"

using softnpu::DeviceState;
using softnpu::fail;
using softnpu::Process;
using softnpu::Soc;
using softnpu::Stream;

namespace {

// The stream whose limits this thread tiles by (aclrtUseStreamResInCurrentThread).
thread_local Stream* limiting_stream = nullptr;

uint32_t whole(const Soc& soc, aclrtDevResLimitType type) {
    return type == ACL_RT_DEV_RES_CUBE_CORE ? soc.cube_cores : soc.vector_cores;
}

template <typename Owner>
std::atomic<uint32_t>& limit_of(Owner& owner, aclrtDevResLimitType type) {
    return type == ACL_RT_DEV_RES_CUBE_CORE ? owner.cube_limit : owner.vector_limit;
}

bool known(aclrtDevResLimitType type) { return type == ACL_RT_DEV_RES_CUBE_CORE || type == ACL_RT_DEV_RES_VECTOR_CORE; }

uint32_t device_limit(DeviceState& state, aclrtDevResLimitType type) {
    const uint32_t set = limit_of(state, type).load();
    return set != 0 ? set : whole(state.device().soc(), type);
}

uint32_t stream_limit(Stream& stream, aclrtDevResLimitType type) {
    const uint32_t set = limit_of(stream, type).load();
    return set != 0 ? set : device_limit(stream.device(), type);
}

template <typename Owner>
aclError set_limit(Owner& owner, const Soc& soc, aclrtDevResLimitType type, uint32_t value) {
    if (!known(type) || value == 0 || value > whole(soc, type)) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "core limit %u of type %d: %s has %u cube and %u vector cores", value,
                    static_cast<int>(type), soc.name, soc.cube_cores, soc.vector_cores);
    }
    limit_of(owner, type).store(value);
    return ACL_SUCCESS;
}

template <typename Owner>
aclError reset_limits(Owner& owner) {
    owner.cube_limit.store(0);
    owner.vector_limit.store(0);
    return ACL_SUCCESS;
}

}  // namespace

#define SOFTNPU_DEVICE(name, id)                                                \
    DeviceState* const name = Process::get().device(static_cast<uint32_t>(id)); \
    if ((name) == nullptr) {                                                    \
        return softnpu::last_error(false);                                      \
    }

extern "C" {

const char* aclrtGetSocName() {
    return Process::get().ready() == ACL_SUCCESS ? Process::get().options().soc->name : nullptr;
}

aclError aclrtGetDeviceInfo(uint32_t deviceId, aclrtDevAttr attr, int64_t* value) {
    SOFTNPU_NEED(value);
    SOFTNPU_DEVICE(state, deviceId);
    const Soc& soc = state->device().soc();
    switch (static_cast<int>(attr)) {
        case ACL_DEV_ATTR_AICORE_CORE_NUM:
        case ACL_DEV_ATTR_CUBE_CORE_NUM:
            *value = soc.cube_cores;
            return ACL_SUCCESS;
        case ACL_DEV_ATTR_VECTOR_CORE_NUM:
            *value = soc.vector_cores;
            return ACL_SUCCESS;
        case ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE:
            *value = static_cast<int64_t>(soc.hbm_bytes);
            return ACL_SUCCESS;
        case ACL_DEV_ATTR_L2_CACHE_SIZE:
            *value = static_cast<int64_t>(soc.l2_bytes);
            return ACL_SUCCESS;
        case ACL_DEV_ATTR_PHY_CHIP_ID:
            *value = deviceId;
            return ACL_SUCCESS;
        default:
            return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                        "aclrtGetDeviceInfo: attribute %d is not known to the software NPU", static_cast<int>(attr));
    }
}

aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t* value) {
    SOFTNPU_NEED(value);
    SOFTNPU_DEVICE(state, deviceId);
    const Soc& soc = state->device().soc();
    switch (static_cast<int>(deviceInfo)) {
        case ACL_DEVICE_INFO_AI_CORE_NUM:
            *value = soc.cube_cores;
            return ACL_SUCCESS;
        case ACL_DEVICE_INFO_VECTOR_CORE_NUM:
            *value = soc.vector_cores;
            return ACL_SUCCESS;
        case ACL_DEVICE_INFO_L2_SIZE:
            *value = static_cast<int64_t>(soc.l2_bytes);
            return ACL_SUCCESS;
        default:
            return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclGetDeviceCapability: %d is not known to the software NPU",
                        static_cast<int>(deviceInfo));
    }
}

aclError aclrtSetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t value) {
    SOFTNPU_DEVICE(state, deviceId);
    return set_limit(*state, state->device().soc(), type, value);
}

aclError aclrtResetDeviceResLimit(int32_t deviceId) {
    SOFTNPU_DEVICE(state, deviceId);
    return reset_limits(*state);
}

aclError aclrtGetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t* value) {
    SOFTNPU_NEED(value);
    SOFTNPU_DEVICE(state, deviceId);
    *value = device_limit(*state, type);
    return ACL_SUCCESS;
}

aclError aclrtSetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t value) {
    SOFTNPU_STREAM(given, stream);
    return set_limit(*given, given->device().device().soc(), type, value);
}

aclError aclrtResetStreamResLimit(aclrtStream stream) {
    SOFTNPU_STREAM(given, stream);
    return reset_limits(*given);
}

aclError aclrtGetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t* value) {
    SOFTNPU_NEED(value);
    SOFTNPU_STREAM(given, stream);
    *value = stream_limit(*given, type);
    return ACL_SUCCESS;
}

aclError aclrtUseStreamResInCurrentThread(aclrtStream stream) {
    SOFTNPU_STREAM(given, stream);
    limiting_stream = given;
    return ACL_SUCCESS;
}

aclError aclrtUnuseStreamResInCurrentThread(aclrtStream /*stream*/) {
    limiting_stream = nullptr;
    return ACL_SUCCESS;
}

aclError aclrtGetResInCurrentThread(aclrtDevResLimitType type, uint32_t* value) {
    SOFTNPU_NEED(value);
    if (limiting_stream != nullptr) {
        *value = stream_limit(*limiting_stream, type);
        return ACL_SUCCESS;
    }
    SOFTNPU_CURRENT(state);
    *value = device_limit(*state, type);
    return ACL_SUCCESS;
}

// Percent, at this moment. A block holds a cube core and its two vector cores.
aclError aclrtGetDeviceUtilizationRate(int32_t deviceId, aclrtUtilizationInfo* utilizationInfo) {
    SOFTNPU_NEED(utilizationInfo);
    const DeviceState* state = Process::get().device(static_cast<uint32_t>(deviceId));
    if (state == nullptr) {
        return softnpu::last_error(false);
    }
    const softnpu::Device& device = state->device();
    const auto cores = static_cast<int32_t>(100 * device.cores_held() / device.soc().cube_cores);
    utilizationInfo->cubeUtilization = cores;
    utilizationInfo->vectorUtilization = cores;
    utilizationInfo->aicpuUtilization = 0;
    utilizationInfo->memoryUtilization = static_cast<int32_t>(100 * device.memory_used() / device.memory_total());
    return ACL_SUCCESS;
}

aclError aclrtGetMemInfo(aclrtMemAttr /*attr*/, size_t* free, size_t* total) {
    SOFTNPU_NEED(free);
    SOFTNPU_NEED(total);
    SOFTNPU_CURRENT(state);
    *total = state->device().memory_total();
    *free = *total - std::min<uint64_t>(*total, state->device().memory_used());
    return ACL_SUCCESS;
}

}  // extern "C"
