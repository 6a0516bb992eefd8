// SPDX-License-Identifier: Apache-2.0
#include "runtime/process.h"

#include "runtime/status.h"
#include "runtime/versions.h"

namespace softnpu {
namespace {

thread_local Context* chosen = nullptr;

}  // namespace

Process& Process::get() {
    static auto* process = new Process();
    return *process;
}

aclError Process::ready() {
    const std::lock_guard lock(mutex_);
    if (!read_) {
        read_ = true;
        if (read_options(&options_, &problem_)) {
            problem_ = torch_mismatch();
        }
        for (uint32_t index = 0; index < primary_.size(); ++index) {
            primary_[index] = {index, true};
        }
    }
    return problem_.empty() ? ACL_SUCCESS : fail(ACL_ERROR_INTERNAL_ERROR, "%s", problem_.c_str());
}

DeviceState* Process::device(uint32_t index) {
    if (ready() != ACL_SUCCESS) {
        return nullptr;
    }
    if (index >= options_.devices) {
        fail(ACL_ERROR_RT_INVALID_DEVICEID, "device %u: the software NPU has devices 0 to %u", index,
             options_.devices - 1);
        return nullptr;
    }
    const std::lock_guard lock(mutex_);
    if (devices_[index] == nullptr) {
        DeviceOptions wanted{};
        wanted.soc = options_.soc;
        wanted.index = index;
        wanted.paced = options_.paced;
        wanted.skip_math = options_.skip_math;
        wanted.scale = options_.scale;
        if (!options_.state_dir.empty()) {
            wanted.state_path = options_.state_dir + "/device" + std::to_string(index);
        }
        std::string error;
        auto opened = Device::open(wanted, &error);
        if (opened == nullptr) {
            fail(ACL_ERROR_INTERNAL_ERROR, "device %u: %s", index, error.c_str());
            return nullptr;
        }
        devices_[index] = std::make_unique<DeviceState>(std::move(opened), index);
    }
    return devices_[index].get();
}

DeviceState* Process::opened(uint32_t index) const {
    const std::lock_guard lock(mutex_);
    return index < devices_.size() ? devices_[index].get() : nullptr;
}

DeviceState* Process::device_of(const void* address) const {
    for (uint32_t index = 0; index < options_.devices; ++index) {
        DeviceState* state = opened(index);
        if (state != nullptr && state->is_device_memory(address)) {
            return state;
        }
    }
    return nullptr;
}

aclError Process::choose(uint32_t index) {
    if (device(index) == nullptr) {
        return last_error(false);
    }
    chosen = &primary_[index];
    return ACL_SUCCESS;
}

void Process::choose(Context* context) { chosen = context; }

Context* Process::current() { return chosen; }

DeviceState* Process::current_device() {
    if (chosen == nullptr) {
        fail(ACL_ERROR_RT_CONTEXT_NULL, "no device chosen in this thread: call aclrtSetDevice first");
        return nullptr;
    }
    return device(chosen->device);
}

Stream* Process::resolve(aclrtStream stream) {
    if (stream != nullptr) {
        return static_cast<Stream*>(stream);
    }
    DeviceState* state = current_device();
    return state == nullptr ? nullptr : &state->default_stream();
}

aclError Process::close(uint32_t index) {
    DeviceState* state = opened(index);
    if (state == nullptr) {
        return ACL_SUCCESS;
    }
    // The state itself stays: objects that the program still holds point into it.
    return state->synchronize(-1);
}

}  // namespace softnpu
