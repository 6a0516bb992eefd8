// SPDX-License-Identifier: Apache-2.0
//
// Device memory of one process on one device: pages that are never touched until somebody writes to them, charged to
// the device's HBM before they are made. Other processes can map what is exported.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "device/device.h"
#include "runtime/pages.h"

namespace softnpu {

class Memory;

// Physical memory (aclrtMallocPhysical): pages without an address.
struct Physical {
    uint64_t offset;
    uint64_t bytes;
    Memory* owner;
    std::shared_ptr<const File> file;  // of another process, which is charged for it; nullptr: the owner's
};

// Ranges of addresses, by start.
class Ranges {
  public:
    void add(const void* address, uint64_t bytes);
    uint64_t remove(const void* address);  // its bytes; 0: not the start of a range
    bool contains(const void* address) const;

  private:
    mutable std::shared_mutex mutex_;
    std::map<uintptr_t, uint64_t> ranges_;
};

// Addresses without pages (aclrtReserveMemAddress). They belong to the process, whatever device's pages go there.
class AddressSpace {
  public:
    void* reserve(uint64_t bytes);
    bool release(void* address);
    bool contains(const void* address) const { return reserved_.contains(address); }

  private:
    Ranges reserved_;
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

    // Handles for other processes, for as long as the memory is neither freed nor withdrawn. 0: not the start of an
    // allocation of this process.
    uint64_t export_block(const void* address);
    uint64_t export_physical(const Physical& physical);
    bool withdraw(uint64_t handle);  // false: not exported here
    // Memory of another process. nullptr with one line in `error`.
    void* import_block(uint64_t handle, std::string* error);
    Physical* import_physical(uint64_t handle, std::string* error);
    bool close_import(uint64_t handle);  // false: import_block did not map it here

  private:
    struct Block {
        uint64_t offset;
        uint64_t bytes;
    };

    Device& device_;
    PageFile pages_;
    mutable std::shared_mutex mutex_;
    std::map<uintptr_t, Block> blocks_;  // from aclrtMalloc
    Ranges mapped_;                      // at reserved addresses
    Ranges imported_;
    std::map<uint64_t, void*> imports_;  // handle -> where
};

}  // namespace softnpu
