// SPDX-License-Identifier: Apache-2.0
//
// Device memory of one process on one device: anonymous mappings that are never touched until somebody writes to them,
// charged to the device's HBM before they are made.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "device/device.h"

namespace softnpu {

class Memory;

// Physical memory (aclrtMallocPhysical): pages without an address.
struct Physical {
    int fd;
    uint64_t bytes;
    Memory* owner;
};

// Addresses without pages (aclrtReserveMemAddress). They belong to the process, whatever device's pages go there.
class AddressSpace {
  public:
    void* reserve(uint64_t bytes);
    bool release(void* address);
    bool contains(const void* address) const;

  private:
    mutable std::mutex mutex_;
    std::map<uintptr_t, uint64_t> reserved_;
};

class Memory {
  public:
    explicit Memory(Device& device) : device_(device) {}
    ~Memory();

    // nullptr when the device's HBM is used up.
    void* allocate(uint64_t bytes);
    // false: not the start of an allocation of this process.
    bool release(void* address);
    bool contains(const void* address) const;

    Physical* allocate_physical(uint64_t bytes);
    void release_physical(Physical* physical);
    // At addresses that the process has reserved. false: past the end of the physical memory.
    bool map(void* address, uint64_t bytes, uint64_t offset, const Physical& physical);
    bool unmap(void* address);

  private:
    Device& device_;
    mutable std::shared_mutex mutex_;
    std::map<uintptr_t, uint64_t> blocks_;  // from aclrtMalloc
    std::map<uintptr_t, uint64_t> mapped_;  // at reserved addresses
};

}  // namespace softnpu
