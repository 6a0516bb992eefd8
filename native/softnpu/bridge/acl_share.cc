// SPDX-License-Identifier: Apache-2.0
//
// Memory, events and notifies that several processes use. A handle is softnpu's own (runtime/pages.h); any process of
// the same user may open it, so a list of processes that may is accepted and not looked at.
#include <flexnpu_abi/acl_rt.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>

#include "bridge/check.h"
#include "runtime/event.h"

using softnpu::DeviceState;
using softnpu::Event;
using softnpu::fail;
using softnpu::Physical;
using softnpu::Process;

namespace {

constexpr const char* kKeyPrefix = "softnpu-ipc:";
constexpr size_t kKeyBytes = 65;  // as CANN's keys, with the zero at the end

// 0: not a key of the software NPU.
uint64_t handle_of(const char* key) {
    const size_t prefix = std::strlen(kKeyPrefix);
    if (std::strncmp(key, kKeyPrefix, prefix) != 0) {
        return 0;
    }
    uint64_t handle = 0;
    const char* const end = key + strnlen(key, kKeyBytes);
    const auto [last, error] = std::from_chars(key + prefix, end, handle, 16);
    return error == std::errc() && last == end ? handle : 0;
}

// A key of at least kKeyBytes, padded with zeros.
void write_key(uint64_t handle, char* key, size_t room) {
    std::memset(key, 0, room);
    std::snprintf(key, room, "%s%" PRIx64, kKeyPrefix, handle);
}

aclError bad_key(const char* what, const char* key) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "%s: \"%.*s\" is no key that the software NPU exported", what,
                static_cast<int>(kKeyBytes), key);
}

aclError import_physical(uint64_t shareable, uint32_t device, aclrtDrvMemHandle* handle) {
    DeviceState* state = Process::get().device(device);
    if (state == nullptr) {
        return softnpu::last_error(false);
    }
    std::string error;
    *handle = state->memory().import_physical(shareable, &error);
    return *handle != nullptr ? ACL_SUCCESS
                              : fail(ACL_ERROR_RT_PARAM_INVALID, "import of a shareable handle: %s", error.c_str());
}

}  // namespace

extern "C" {

// --- memory by key ---

aclError aclrtIpcMemGetExportKey(void* devPtr, size_t size, char* key, size_t len, uint64_t /*flags*/) {
    SOFTNPU_NEED(devPtr);
    SOFTNPU_NEED(key);
    if (len < kKeyBytes) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemGetExportKey: len is %zu, must be at least %zu", len,
                    kKeyBytes);
    }
    DeviceState* state = Process::get().device_of(devPtr);
    const uint64_t handle = state == nullptr ? 0 : state->memory().export_block(devPtr);
    if (handle == 0) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "aclrtIpcMemGetExportKey: %p (%zu bytes) is not the start of an allocation of this process", devPtr,
                    size);
    }
    write_key(handle, key, len);
    return ACL_SUCCESS;
}

aclError aclrtIpcMemImportByKey(void** devPtr, const char* key, uint64_t /*flags*/) {
    SOFTNPU_NEED(devPtr);
    SOFTNPU_NEED(key);
    SOFTNPU_CURRENT(state);
    const uint64_t handle = handle_of(key);
    if (handle == 0) {
        return bad_key("aclrtIpcMemImportByKey", key);
    }
    std::string error;
    *devPtr = state->memory().import_block(handle, &error);
    return *devPtr != nullptr ? ACL_SUCCESS
                              : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemImportByKey: %s", error.c_str());
}

// An importer loses its address for the memory; the exporter withdraws the key.
aclError aclrtIpcMemClose(const char* key) {
    SOFTNPU_NEED(key);
    const uint64_t handle = handle_of(key);
    if (handle == 0) {
        return bad_key("aclrtIpcMemClose", key);
    }
    const Process& process = Process::get();
    const auto any_device = [&](auto does) {
        for (uint32_t index = 0; index < process.options().devices; ++index) {
            DeviceState* state = process.opened(index);
            if (state != nullptr && does(*state)) {
                return true;
            }
        }
        return false;
    };
    if (any_device([&](DeviceState& state) { return state.memory().close_import(handle); }) ||
        any_device([&](DeviceState& state) { return state.memory().withdraw(handle); })) {
        return ACL_SUCCESS;
    }
    return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemClose: \"%s\" is neither imported nor exported here", key);
}

aclError aclrtIpcMemSetImportPid(const char* key, int32_t* /*pid*/, size_t /*num*/) {
    SOFTNPU_NEED(key);
    return handle_of(key) != 0 ? ACL_SUCCESS : bad_key("aclrtIpcMemSetImportPid", key);
}

aclError aclrtIpcMemSetAttr(const char* key, aclrtIpcMemAttrType /*type*/, uint64_t /*attr*/) {
    SOFTNPU_NEED(key);
    return handle_of(key) != 0 ? ACL_SUCCESS : bad_key("aclrtIpcMemSetAttr", key);
}

// --- physical memory by handle ---

aclError aclrtMemExportToShareableHandle(aclrtDrvMemHandle handle, aclrtMemHandleType /*handleType*/,
                                         uint64_t /*flags*/, uint64_t* shareableHandle) {
    SOFTNPU_NEED(handle);
    SOFTNPU_NEED(shareableHandle);
    const auto& physical = *static_cast<Physical*>(handle);
    *shareableHandle = physical.owner->export_physical(physical);
    return *shareableHandle != 0 ? ACL_SUCCESS
                                 : fail(ACL_ERROR_RT_PARAM_INVALID,
                                        "aclrtMemExportToShareableHandle: the memory is another process's; only the "
                                        "process that allocated it exports it");
}

aclError aclrtMemExportToShareableHandleV2(aclrtDrvMemHandle handle, uint64_t flags, aclrtMemSharedHandleType shareType,
                                           void* shareableHandle) {
    if (shareType != ACL_MEM_SHARE_HANDLE_TYPE_DEFAULT) {
        return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                    "aclrtMemExportToShareableHandleV2: shareType is %d; the software NPU has no fabric, so it must be "
                    "ACL_MEM_SHARE_HANDLE_TYPE_DEFAULT",
                    static_cast<int>(shareType));
    }
    return aclrtMemExportToShareableHandle(handle, ACL_MEM_HANDLE_TYPE_NONE, flags,
                                           static_cast<uint64_t*>(shareableHandle));
}

aclError aclrtMemImportFromShareableHandle(uint64_t shareableHandle, int32_t deviceId, aclrtDrvMemHandle* handle) {
    SOFTNPU_NEED(handle);
    return import_physical(shareableHandle, static_cast<uint32_t>(deviceId), handle);
}

aclError aclrtMemImportFromShareableHandleV2(void* shareableHandle, aclrtMemSharedHandleType /*shareType*/,
                                             uint64_t /*flags*/, aclrtDrvMemHandle* handle) {
    SOFTNPU_NEED(shareableHandle);
    SOFTNPU_NEED(handle);
    SOFTNPU_CURRENT(state);
    return import_physical(*static_cast<uint64_t*>(shareableHandle), state->index(), handle);
}

aclError aclrtMemSetPidToShareableHandle(uint64_t /*shareableHandle*/, int32_t* /*pid*/, size_t /*pidNum*/) {
    return ACL_SUCCESS;
}

aclError aclrtMemSetPidToShareableHandleV2(void* /*shareableHandle*/, aclrtMemSharedHandleType /*shareType*/,
                                           int32_t* /*pid*/, size_t /*pidNum*/) {
    return ACL_SUCCESS;
}

// --- events ---

aclError aclrtIpcGetEventHandle(aclrtEvent event, aclrtIpcEventHandle* handle) {
    SOFTNPU_NEED(event);
    SOFTNPU_NEED(handle);
    const uint64_t shared = static_cast<Event*>(event)->handle();
    if (shared == 0) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "aclrtIpcGetEventHandle: the event was not made with ACL_EVENT_IPC, or comes from another process");
    }
    *handle = {};
    std::memcpy(handle->reserved, &shared, sizeof shared);
    return ACL_SUCCESS;
}

aclError aclrtIpcOpenEventHandle(aclrtIpcEventHandle handle, aclrtEvent* event) {
    SOFTNPU_NEED(event);
    uint64_t shared = 0;
    std::memcpy(&shared, handle.reserved, sizeof shared);
    std::string error;
    *event = Event::open(shared, &error);
    return *event != nullptr ? ACL_SUCCESS
                             : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcOpenEventHandle: %s", error.c_str());
}

// --- notifies: external events of which one waiter takes the record ---

aclError aclrtCreateNotify(aclrtNotify* notify, uint64_t /*flag*/) {
    SOFTNPU_NEED(notify);
    *notify = Event::make_shared(Process::get().event_pages(), true);
    return *notify != nullptr ? ACL_SUCCESS
                              : fail(ACL_ERROR_RT_NO_NOTIFY_RESOURCE, "the host has no memory for a notify");
}

aclError aclrtDestroyNotify(aclrtNotify notify) {
    SOFTNPU_NEED(notify);
    static_cast<Event*>(notify)->release();
    return ACL_SUCCESS;
}

aclError aclrtRecordNotify(aclrtNotify notify, aclrtStream stream) {
    SOFTNPU_NEED(notify);
    SOFTNPU_STREAM(queue, stream);
    return queue->record(*static_cast<Event*>(notify));
}

// s; 0: for ever.
aclError aclrtWaitAndResetNotify(aclrtNotify notify, aclrtStream stream, uint32_t timeout) {
    SOFTNPU_NEED(notify);
    SOFTNPU_STREAM(queue, stream);
    constexpr uint32_t kMost = INT32_MAX / 1000;
    return queue->take(*static_cast<Event*>(notify),
                       timeout == 0 ? -1 : static_cast<int32_t>(std::min(timeout, kMost)) * 1000);
}

// The low bits of its handle: no two notifies of a process have the same.
aclError aclrtGetNotifyId(aclrtNotify notify, uint32_t* notifyId) {
    SOFTNPU_NEED(notify);
    SOFTNPU_NEED(notifyId);
    *notifyId = static_cast<uint32_t>(static_cast<Event*>(notify)->page());
    return ACL_SUCCESS;
}

aclError aclrtNotifyBatchReset(aclrtNotify* notifies, size_t num) {
    SOFTNPU_NEED(notifies);
    for (size_t i = 0; i < num; ++i) {
        SOFTNPU_NEED(notifies[i]);
        static_cast<Event*>(notifies[i])->reset();
    }
    return ACL_SUCCESS;
}

aclError aclrtNotifyGetExportKey(aclrtNotify notify, char* key, size_t len, uint64_t /*flags*/) {
    SOFTNPU_NEED(notify);
    SOFTNPU_NEED(key);
    const uint64_t handle = static_cast<Event*>(notify)->handle();
    if (handle == 0 || len < kKeyBytes) {
        return fail(ACL_ERROR_RT_PARAM_INVALID,
                    "aclrtNotifyGetExportKey: len is %zu, must be at least %zu, and the notify this process's", len,
                    kKeyBytes);
    }
    write_key(handle, key, len);
    return ACL_SUCCESS;
}

aclError aclrtNotifyImportByKey(aclrtNotify* notify, const char* key, uint64_t /*flags*/) {
    SOFTNPU_NEED(notify);
    SOFTNPU_NEED(key);
    const uint64_t handle = handle_of(key);
    if (handle == 0) {
        return bad_key("aclrtNotifyImportByKey", key);
    }
    std::string error;
    *notify = Event::open(handle, &error, true);
    return *notify != nullptr ? ACL_SUCCESS
                              : fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtNotifyImportByKey: %s", error.c_str());
}

aclError aclrtNotifySetImportPid(aclrtNotify notify, int32_t* /*pid*/, size_t /*num*/) {
    SOFTNPU_NEED(notify);
    return ACL_SUCCESS;
}

}  // extern "C"
