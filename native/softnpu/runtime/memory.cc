// SPDX-License-Identifier: Apache-2.0
#include "runtime/memory.h"

#include <sys/mman.h>
#include <unistd.h>

namespace softnpu {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t whole_pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// NORESERVE: a model whose math is skipped takes addresses, not the host's memory.
void* map_anonymous(uint64_t bytes, int protection) {
    void* address = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

bool inside(const std::map<uintptr_t, uint64_t>& ranges, uintptr_t address) {
    auto next = ranges.upper_bound(address);
    if (next == ranges.begin()) {
        return false;
    }
    --next;
    return address < next->first + next->second;
}

}  // namespace

Memory::~Memory() {
    for (const auto& [address, bytes] : blocks_) {
        munmap(reinterpret_cast<void*>(address), bytes);
        device_.release(bytes);
    }
}

void* Memory::allocate(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    if (!device_.reserve(size)) {
        return nullptr;
    }
    void* address = map_anonymous(size, PROT_READ | PROT_WRITE);
    if (address == nullptr) {
        device_.release(size);
        return nullptr;
    }
    const std::lock_guard lock(mutex_);
    blocks_.emplace(reinterpret_cast<uintptr_t>(address), size);
    return address;
}

bool Memory::release(void* address) {
    uint64_t size = 0;
    {
        const std::lock_guard lock(mutex_);
        const auto block = blocks_.find(reinterpret_cast<uintptr_t>(address));
        if (block == blocks_.end()) {
            return false;
        }
        size = block->second;
        blocks_.erase(block);
    }
    munmap(address, size);
    device_.release(size);
    return true;
}

bool Memory::contains(const void* address) const {
    const std::shared_lock lock(mutex_);
    const auto key = reinterpret_cast<uintptr_t>(address);
    return inside(blocks_, key) || inside(mapped_, key);
}

Physical* Memory::allocate_physical(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    if (!device_.reserve(size)) {
        return nullptr;
    }
    const int fd = memfd_create("softnpu-hbm", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        device_.release(size);
        return nullptr;
    }
    return new Physical{fd, size, this};
}

void Memory::release_physical(Physical* physical) {
    close(physical->fd);
    device_.release(physical->bytes);
    delete physical;
}

void* AddressSpace::reserve(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    void* address = map_anonymous(size, PROT_NONE);
    if (address != nullptr) {
        const std::lock_guard lock(mutex_);
        reserved_.emplace(reinterpret_cast<uintptr_t>(address), size);
    }
    return address;
}

bool AddressSpace::contains(const void* address) const {
    const std::lock_guard lock(mutex_);
    return inside(reserved_, reinterpret_cast<uintptr_t>(address));
}

bool AddressSpace::release(void* address) {
    const std::lock_guard lock(mutex_);
    const auto range = reserved_.find(reinterpret_cast<uintptr_t>(address));
    if (range == reserved_.end()) {
        return false;
    }
    munmap(address, range->second);
    reserved_.erase(range);
    return true;
}

bool Memory::map(void* address, uint64_t bytes, uint64_t offset, const Physical& physical) {
    const std::lock_guard lock(mutex_);
    if (offset + bytes > physical.bytes) {
        return false;
    }
    void* mapped = mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, physical.fd,
                        static_cast<off_t>(offset));
    if (mapped == MAP_FAILED) {
        return false;
    }
    mapped_.emplace(reinterpret_cast<uintptr_t>(address), bytes);
    return true;
}

bool Memory::unmap(void* address) {
    const std::lock_guard lock(mutex_);
    const auto range = mapped_.find(reinterpret_cast<uintptr_t>(address));
    if (range == mapped_.end()) {
        return false;
    }
    // The addresses stay reserved, without pages behind them.
    mmap(address, range->second, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    mapped_.erase(range);
    return true;
}

}  // namespace softnpu
