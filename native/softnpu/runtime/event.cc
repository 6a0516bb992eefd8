// SPDX-License-Identifier: Apache-2.0
#include "runtime/event.h"

#include <algorithm>

namespace softnpu {

uint64_t Event::expect() {
    const std::lock_guard lock(mutex_);
    return ++expected_;
}

void Event::complete(uint64_t number, int64_t device_ns) {
    const std::lock_guard lock(mutex_);
    completed_ = std::max(completed_, number);
    device_ns_ = device_ns;
    set_ = true;
    done_.notify_all();
}

uint64_t Event::newest() const {
    const std::lock_guard lock(mutex_);
    return expected_;
}

bool Event::is_complete(uint64_t number, int64_t* device_ns) const {
    const std::lock_guard lock(mutex_);
    *device_ns = device_ns_;
    return completed_ >= number;
}

int64_t Event::wait(uint64_t number) const {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return completed_ >= number; });
    return device_ns_;
}

int64_t Event::await() const {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return set_; });
    return device_ns_;
}

void Event::reset() {
    const std::lock_guard lock(mutex_);
    set_ = false;
}

}  // namespace softnpu
