// SPDX-License-Identifier: Apache-2.0
//
// Process, device and context entries.
#include <flexnpu_abi/acl_rt.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "bridge/check.h"

using softnpu::Context;
using softnpu::fail;
using softnpu::Process;

namespace {
std::atomic<bool> initialized{false};
}  // namespace

extern "C" {

aclError aclInit(const char* /*configPath*/) {
    const aclError error = Process::get().ready();
    if (error == ACL_SUCCESS && initialized.exchange(true)) {
        return fail(ACL_ERROR_REPEAT_INITIALIZE, "aclInit: this process has called it already");
    }
    return error;
}

aclError aclFinalize() {
    if (!initialized.exchange(false)) {
        return fail(ACL_ERROR_REPEAT_FINALIZE, "aclFinalize: aclInit was not called, or aclFinalize was since");
    }
    for (uint32_t index = 0; index < Process::get().options().devices; ++index) {
        Process::get().close(index);
    }
    return ACL_SUCCESS;
}

const char* aclGetRecentErrMsg() { return softnpu::take_message(); }

aclError aclrtGetLastError(aclrtLastErrLevel /*level*/) { return softnpu::last_error(true); }

aclError aclrtPeekAtLastError(aclrtLastErrLevel /*level*/) { return softnpu::last_error(false); }

aclError aclrtGetDeviceCount(uint32_t* count) {
    SOFTNPU_NEED(count);
    const aclError error = Process::get().ready();
    *count = error == ACL_SUCCESS ? Process::get().options().devices : 0;
    return error;
}

aclError aclrtSetDevice(int32_t deviceId) { return Process::get().choose(static_cast<uint32_t>(deviceId)); }

aclError aclrtResetDevice(int32_t deviceId) { return Process::get().close(static_cast<uint32_t>(deviceId)); }

aclError aclrtGetDevice(int32_t* deviceId) {
    SOFTNPU_NEED(deviceId);
    const Context* context = Process::get().current();
    if (context == nullptr) {
        return fail(ACL_ERROR_RT_CONTEXT_NULL, "no device chosen in this thread: call aclrtSetDevice first");
    }
    *deviceId = static_cast<int32_t>(context->device);
    return ACL_SUCCESS;
}

aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t* flags, int32_t* active) {
    if (flags != nullptr) {
        *flags = 0;
    }
    if (active != nullptr) {
        *active = Process::get().opened(static_cast<uint32_t>(deviceId)) != nullptr ? 1 : 0;
    }
    return ACL_SUCCESS;
}

aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId) {
    SOFTNPU_NEED(context);
    if (Process::get().device(static_cast<uint32_t>(deviceId)) == nullptr) {
        return softnpu::last_error(false);
    }
    auto* made = new Context{static_cast<uint32_t>(deviceId), false};
    Process::get().choose(made);
    *context = made;
    return ACL_SUCCESS;
}

aclError aclrtDestroyContext(aclrtContext context) {
    SOFTNPU_NEED(context);
    auto* given = static_cast<Context*>(context);
    if (given->primary) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "aclrtDestroyContext: the primary context of device %u cannot be destroyed", given->device);
    }
    if (Process::get().current() == given) {
        Process::get().choose(static_cast<Context*>(nullptr));
    }
    delete given;
    return ACL_SUCCESS;
}

aclError aclrtGetCurrentContext(aclrtContext* context) {
    SOFTNPU_NEED(context);
    *context = Process::get().current();
    return *context != nullptr ? ACL_SUCCESS : fail(ACL_ERROR_RT_CONTEXT_NULL, "no context in this thread");
}

aclError aclrtSetCurrentContext(aclrtContext context) {
    SOFTNPU_NEED(context);
    Process::get().choose(static_cast<Context*>(context));
    return ACL_SUCCESS;
}

aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout) {
    SOFTNPU_CURRENT(state);
    return state->synchronize(timeout);
}

aclError aclrtSynchronizeDevice() { return aclrtSynchronizeDeviceWithTimeout(-1); }

// `timeout` in ms, 0: none.
aclError aclrtDeviceTaskAbort(int32_t deviceId, uint32_t timeout) {
    softnpu::DeviceState* const state = Process::get().device(static_cast<uint32_t>(deviceId));
    if (state == nullptr) {
        return softnpu::last_error(false);
    }
    return state->abort(timeout == 0 ? -1 : static_cast<int32_t>(timeout));
}

aclError aclrtDeviceCanAccessPeer(int32_t* canAccessPeer, int32_t deviceId, int32_t peerDeviceId) {
    SOFTNPU_NEED(canAccessPeer);
    *canAccessPeer = deviceId != peerDeviceId ? 1 : 0;
    return ACL_SUCCESS;
}

// All devices' memory is in one address space here; there is nothing to enable.
aclError aclrtDeviceEnablePeerAccess(int32_t /*peerDeviceId*/, uint32_t /*flags*/) { return ACL_SUCCESS; }

aclError aclrtDeviceGetBareTgid(int32_t* pid) {
    SOFTNPU_NEED(pid);
    *pid = getpid();
    return ACL_SUCCESS;
}

aclError aclrtDeviceGetUuid(int32_t deviceId, aclrtUuid* uuid) {
    SOFTNPU_NEED(uuid);
    std::memset(uuid->bytes, 0, sizeof uuid->bytes);
    std::memcpy(uuid->bytes, "softnpu", 7);
    uuid->bytes[15] = static_cast<char>(deviceId);
    return ACL_SUCCESS;
}

aclError aclrtGetRunMode(aclrtRunMode* runMode) {
    SOFTNPU_NEED(runMode);
    *runMode = ACL_HOST;
    return ACL_SUCCESS;
}

aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t* const logicDevId) {
    SOFTNPU_NEED(logicDevId);
    *logicDevId = userDevid;
    return ACL_SUCCESS;
}

}  // extern "C"
