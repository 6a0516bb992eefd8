// SPDX-License-Identifier: Apache-2.0
//
// One device as this process uses it: its memory, streams and core limits.
#pragma once

#include <flexnpu_abi/acl_types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "device/device.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace softnpu {

class DeviceState {
  public:
    DeviceState(std::unique_ptr<Device> device, uint32_t index);
    ~DeviceState();

    Device& device() { return *device_; }
    const Device& device() const { return *device_; }
    Memory& memory() { return memory_; }
    uint32_t index() const { return index_; }
    bool is_device_memory(const void* address) const { return memory_.contains(address); }

    Stream* create_stream();
    bool destroy_stream(Stream* stream);  // false: not a stream of this device
    bool owns(const Stream* stream) const;
    Stream& default_stream();
    aclError synchronize(int32_t timeout_ms);
    // Drops what all streams have queued; those that lost something say so at their next synchronisation.
    aclError abort(int32_t timeout_ms);

    // A copy outside every stream, over within the call.
    void copy_now(void* destination, const void* source, uint64_t bytes);
    void fill_now(void* destination, int32_t value, uint64_t bytes);
    // Returns when device time has come to `device_ns`.
    void wait_until(int64_t device_ns) const;

    // The limit that a program set (aclrtSetDeviceResLimit); 0 when none.
    std::atomic<uint32_t> cube_limit{0};
    std::atomic<uint32_t> vector_limit{0};

  private:
    Stream* new_stream();  // under mutex_
    std::vector<Stream*> live_streams() const;
    void take_time(const Cost& cost);

    std::unique_ptr<Device> device_;
    const uint32_t index_;
    Memory memory_;
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<Stream>> all_streams_;  // destroyed ones too: handles to them stay valid
    std::unordered_set<Stream*> streams_;               // those that are not destroyed
    Stream* default_stream_ = nullptr;
    uint32_t next_stream_ = 0;
    std::mutex copy_mutex_;
    Lane copy_lane_;
};

}  // namespace softnpu
