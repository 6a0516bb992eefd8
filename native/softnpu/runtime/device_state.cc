// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_state.h"

#include <ctime>
#include <vector>

#include "runtime/copy.h"

namespace softnpu {

DeviceState::DeviceState(std::unique_ptr<Device> device, uint32_t index)
    : device_(std::move(device)), index_(index), memory_(*device_), copy_lane_(*device_) {}

DeviceState::~DeviceState() {
    for (Stream* stream : streams_) {
        stream->close();
    }
}

Stream* DeviceState::create_stream() {
    const std::lock_guard lock(mutex_);
    return new_stream();
}

Stream* DeviceState::new_stream() {
    Stream* stream = all_streams_.emplace_back(std::make_unique<Stream>(*this, next_stream_++)).get();
    streams_.insert(stream);
    return stream;
}

bool DeviceState::destroy_stream(Stream* stream) {
    {
        const std::lock_guard lock(mutex_);
        if (streams_.erase(stream) == 0) {
            return false;
        }
    }
    stream->close();
    return true;
}

bool DeviceState::owns(const Stream* stream) const {
    const std::lock_guard lock(mutex_);
    return streams_.contains(const_cast<Stream*>(stream));
}

Stream& DeviceState::default_stream() {
    const std::lock_guard lock(mutex_);
    if (default_stream_ == nullptr) {
        default_stream_ = new_stream();
    }
    return *default_stream_;
}

std::vector<Stream*> DeviceState::live_streams() const {
    const std::lock_guard lock(mutex_);
    return {streams_.begin(), streams_.end()};
}

aclError DeviceState::synchronize(int32_t timeout_ms) {
    aclError first = ACL_SUCCESS;
    for (Stream* stream : live_streams()) {
        const aclError error = stream->synchronize(timeout_ms);
        first = first == ACL_SUCCESS ? error : first;
    }
    return first;
}

aclError DeviceState::abort(int32_t timeout_ms) {
    const std::vector<Stream*> all = live_streams();
    for (Stream* stream : all) {
        stream->abort(ACL_ERROR_RT_DEVICE_TASK_ABORT);  // all of them first: one may wait for another's record
    }
    aclError first = ACL_SUCCESS;
    for (Stream* stream : all) {
        const aclError error = stream->finish(timeout_ms);
        first = first == ACL_SUCCESS ? error : first;
    }
    return first;
}

void DeviceState::copy_now(void* destination, const void* source, uint64_t bytes) {
    const Copy copy = plan_copy(destination, source, bytes);
    carry_out(copy, *device_);
    if (copy.touches_device) {
        take_time(copy.cost);
    }
}

void DeviceState::fill_now(void* destination, int32_t value, uint64_t bytes) {
    carry_out_fill(destination, value, bytes, *device_);
    take_time(fill_cost(bytes));
}

void DeviceState::take_time(const Cost& cost) {
    if (device_->paced()) {
        const std::lock_guard lock(copy_mutex_);
        wait_until(copy_lane_.run(cost, 0, device_->now_ns()).end_ns);
    }
}

void DeviceState::wait_until(int64_t device_ns) const {
    for (;;) {
        const int64_t remaining = device_ns - device_->now_ns();
        if (remaining <= 0) {
            return;
        }
        // The scale may change meanwhile, so at most 50 ms at a time.
        const double wall_ns = std::min(static_cast<double>(remaining) * device_->scale(), 50e6);
        timespec pause{0, std::max(1L, static_cast<long>(wall_ns))};
        nanosleep(&pause, nullptr);
    }
}

}  // namespace softnpu
