// SPDX-License-Identifier: Apache-2.0
// Which device: the program counts those of its vNPU from 0. A call that names another is refused as the vendor would
// refuse a device that is not there (closed).
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

constexpr aclError kNoSuchDevice = ACL_ERROR_RT_INVALID_DEVICEID;

// The usual kind: the device first, then whatever it is asked.
template <typename Number, typename... Rest>
aclError on_device(aclError (*real)(Number, Rest...), Number device, Rest... rest) {
    Number physical{};
    return to_physical(device, &physical) ? real(physical, rest...) : kNoSuchDevice;
}

aclError on_aclInit(decltype(&::aclInit) real, const char* configPath) { return real(configPath); }

aclError on_aclrtGetDevice(decltype(&::aclrtGetDevice) real, int32_t* deviceId) {
    const aclError status = real(deviceId);
    if (status == ACL_SUCCESS) *deviceId = to_seen(*deviceId);
    return status;
}

aclError on_aclrtSetDevice(decltype(&::aclrtSetDevice) real, int32_t deviceId) {
    const aclError status = on_device(real, deviceId);
    if (status == ACL_SUCCESS) current_ordinal = static_cast<uint32_t>(deviceId);
    return status;
}

aclError on_aclrtGetDeviceCount(decltype(&::aclrtGetDeviceCount) real, uint32_t* count) {
    const aclError status = real(count);
    if (status != ACL_SUCCESS) return status;
    for (uint32_t i = 0; i < tenant.device_count; ++i) {
        const int32_t device = tenant.devices[i].quota.device();
        if (*count > static_cast<uint32_t>(device)) continue;
        log(Level::error, "the vNPU is on device %d, the runtime sees %u: give this process the daemon's devices",
            device, *count);
        *count = 0;
        return ACL_ERROR_RT_NO_DEVICE;
    }
    *count = tenant.device_count;
    return status;
}

// What may leave the thread on another device, or on none.
constexpr auto on_moved = [](auto real, auto... arguments) {
    const aclError status = real(arguments...);
    current_ordinal = unknown_ordinal;
    return status;
};
constexpr auto on_aclrtSetCurrentContext = on_moved;

// No event can be put on its streams afterwards.
aclError on_aclrtDestroyContext(decltype(&::aclrtDestroyContext) real, aclrtContext context) {
    for (uint32_t i = 0; i < tenant.device_count; ++i) tenant.devices[i].gate.context_ends(context);
    return on_moved(real, context);
}

aclError on_aclrtCreateContext(decltype(&::aclrtCreateContext) real, aclrtContext* context, int32_t deviceId) {
    int32_t physical = 0;
    return to_physical(deviceId, &physical) ? on_moved(real, context, physical) : kNoSuchDevice;
}

aclError on_aclrtGetUserDevIdByLogicDevId(decltype(&::aclrtGetUserDevIdByLogicDevId) real, const int32_t logicDevId,
                                          int32_t* const userDevid) {
    const aclError status = real(logicDevId, userDevid);
    if (status == ACL_SUCCESS) *userDevid = to_seen(*userDevid);
    return status;
}

aclError on_aclrtDeviceCanAccessPeer(decltype(&::aclrtDeviceCanAccessPeer) real, int32_t* canAccessPeer,
                                     int32_t deviceId, int32_t peerDeviceId) {
    int32_t device = 0;
    int32_t peer = 0;
    if (!to_physical(deviceId, &device) || !to_physical(peerDeviceId, &peer)) return kNoSuchDevice;
    return real(canAccessPeer, device, peer);
}

aclError on_aclrtDevicePeerAccessStatus(decltype(&::aclrtDevicePeerAccessStatus) real, int32_t deviceId,
                                        int32_t peerDeviceId, int32_t* status) {
    int32_t device = 0;
    int32_t peer = 0;
    if (!to_physical(deviceId, &device) || !to_physical(peerDeviceId, &peer)) return kNoSuchDevice;
    return real(device, peer, status);
}

aclError on_aclrtGetDevicesTopo(decltype(&::aclrtGetDevicesTopo) real, uint32_t deviceId, uint32_t otherDeviceId,
                                uint64_t* value) {
    uint32_t device = 0;
    uint32_t other = 0;
    if (!to_physical(deviceId, &device) || !to_physical(otherDeviceId, &other)) return kNoSuchDevice;
    return real(device, other, value);
}

constexpr auto by_device = [](auto real, auto... arguments) { return on_device(real, arguments...); };
// Streams and events go with the device, the gate's too.
constexpr auto by_device_that_ends = [](auto real, int32_t device) {
    if (static_cast<uint32_t>(device) < tenant.device_count) tenant.devices[device].gate.device_ends();
    const aclError status = on_device(real, device);
    current_ordinal = unknown_ordinal;
    return status;
};
constexpr auto on_aclrtResetDevice = by_device_that_ends;
constexpr auto on_aclrtResetDeviceForce = by_device_that_ends;
constexpr auto on_aclrtQueryDeviceStatus = by_device;
constexpr auto on_aclrtGetPrimaryCtxState = by_device;
constexpr auto on_aclrtDeviceTaskAbort = by_device;
constexpr auto on_aclrtDeviceEnablePeerAccess = by_device;
constexpr auto on_aclrtDeviceDisablePeerAccess = by_device;
constexpr auto on_aclrtGetDeviceUtilizationRate = by_device;
constexpr auto on_aclrtDeviceGetUuid = by_device;
constexpr auto on_aclrtGetDeviceCapability = by_device;
constexpr auto on_aclrtGetLogicDevIdByUserDevId = by_device;
constexpr auto on_aclrtGetErrorVerbose = by_device;
constexpr auto on_aclrtRepairError = by_device;
constexpr auto on_aclrtGetMemUceInfo = by_device;
constexpr auto on_aclrtMemUceRepair = by_device;

}  // namespace

uint32_t ask_ordinal() {
    uint32_t ordinal = 0;
    const auto real = reinterpret_cast<decltype(&::aclrtGetDevice)>(real_function(slot_aclrtGetDevice));
    if (tenant.device_count > 1 && real != nullptr) {
        const Depth physical(Guard::ordinal);
        int32_t device = -1;
        const uint32_t seen = real(&device) == ACL_SUCCESS ? static_cast<uint32_t>(to_seen(device)) : 0;
        if (seen < tenant.device_count) ordinal = seen;
    }
    current_ordinal = ordinal;
    return ordinal;
}

#define FLEXNPU_DEVICE(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::ordinal, on_##name)
#include "functions.def"

}  // namespace flexnpu
