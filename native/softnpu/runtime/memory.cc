// SPDX-License-Identifier: Apache-2.0
#include "runtime/memory.h"

#include <sys/mman.h>

namespace softnpu {
namespace {

uintptr_t key_of(const void* address) { return reinterpret_cast<uintptr_t>(address); }

// NORESERVE: a model whose math is skipped takes addresses, not the host's memory.
void* map_shared(void* at, uint64_t bytes, int fd, uint64_t offset) {
    const int where = at != nullptr ? MAP_FIXED : 0;
    void* address =
        mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | where, fd, static_cast<off_t>(offset));
    return address == MAP_FAILED ? nullptr : address;
}

// Addresses alone.
void* map_nothing(void* at, uint64_t bytes) {
    const int where = at != nullptr ? MAP_FIXED : 0;
    void* address = mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | where, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

}  // namespace

void Ranges::add(const void* address, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    ranges_[key_of(address)] = bytes;
}

uint64_t Ranges::remove(const void* address) {
    const std::lock_guard lock(mutex_);
    const auto range = ranges_.find(key_of(address));
    if (range == ranges_.end()) {
        return 0;
    }
    const uint64_t bytes = range->second;
    ranges_.erase(range);
    return bytes;
}

bool Ranges::contains(const void* address) const {
    const std::shared_lock lock(mutex_);
    const auto next = ranges_.upper_bound(key_of(address));
    return next != ranges_.begin() && key_of(address) < std::prev(next)->first + std::prev(next)->second;
}

void* AddressSpace::reserve(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    void* address = map_nothing(nullptr, size);
    if (address != nullptr) {
        reserved_.add(address, size);
    }
    return address;
}

bool AddressSpace::release(void* address) {
    const uint64_t bytes = reserved_.remove(address);
    return bytes != 0 && munmap(address, bytes) == 0;
}

Memory::~Memory() {
    for (const auto& [address, block] : blocks_) {
        munmap(reinterpret_cast<void*>(address), block.bytes);
        device_.release(block.bytes);
    }
}

void* Memory::allocate(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    if (!device_.reserve(size)) {
        return nullptr;
    }
    const auto offset = pages_.take(size);
    void* address = offset ? map_shared(nullptr, size, pages_.fd(), *offset) : nullptr;
    if (address == nullptr) {
        if (offset) {
            pages_.give_back(*offset, size);
        }
        device_.release(size);
        return nullptr;
    }
    const std::lock_guard lock(mutex_);
    blocks_[key_of(address)] = {*offset, size};
    return address;
}

bool Memory::release(void* address) {
    Block block{};
    {
        const std::lock_guard lock(mutex_);
        const auto found = blocks_.find(key_of(address));
        if (found == blocks_.end()) {
            return false;
        }
        block = found->second;
        blocks_.erase(found);
    }
    munmap(address, block.bytes);
    pages_.give_back(block.offset, block.bytes);
    device_.release(block.bytes);
    return true;
}

bool Memory::contains(const void* address) const {
    {
        const std::shared_lock lock(mutex_);
        const auto next = blocks_.upper_bound(key_of(address));
        if (next != blocks_.begin() && key_of(address) < std::prev(next)->first + std::prev(next)->second.bytes) {
            return true;
        }
    }
    return mapped_.contains(address) || imported_.contains(address);
}

Physical* Memory::allocate_physical(uint64_t bytes) {
    const uint64_t size = whole_pages(bytes);
    if (!device_.reserve(size)) {
        return nullptr;
    }
    const auto offset = pages_.take(size);
    if (!offset) {
        device_.release(size);
        return nullptr;
    }
    return new Physical{*offset, size, this, nullptr};
}

void Memory::release_physical(Physical* physical) {
    if (physical->file == nullptr) {
        pages_.give_back(physical->offset, physical->bytes);
        device_.release(physical->bytes);
    }
    delete physical;
}

bool Memory::map(void* address, uint64_t bytes, uint64_t offset, const Physical& physical) {
    const int fd = physical.file != nullptr ? physical.file->fd() : pages_.fd();
    if (offset > physical.bytes || bytes > physical.bytes - offset ||
        map_shared(address, bytes, fd, physical.offset + offset) == nullptr) {
        return false;
    }
    mapped_.add(address, bytes);
    return true;
}

bool Memory::unmap(void* address) {
    const uint64_t bytes = mapped_.remove(address);
    return bytes != 0 && map_nothing(address, bytes) != nullptr;  // the addresses stay reserved
}

uint64_t Memory::export_block(const void* address) {
    const std::shared_lock lock(mutex_);
    const auto block = blocks_.find(key_of(address));
    return block == blocks_.end() ? 0 : pages_.announce(block->second.offset, block->second.bytes);
}

uint64_t Memory::export_physical(const Physical& physical) {
    return physical.file != nullptr ? 0 : pages_.announce(physical.offset, physical.bytes);
}

bool Memory::withdraw(uint64_t handle) { return pages_.withdraw_handle(handle); }

void* Memory::import_block(uint64_t handle, std::string* error) {
    const std::lock_guard lock(mutex_);
    if (const auto known = imports_.find(handle); known != imports_.end()) {
        return known->second;
    }
    const auto pages = open_foreign(handle, error);
    if (!pages) {
        return nullptr;
    }
    void* address = map_shared(nullptr, pages->bytes, pages->file->fd(), pages->offset);
    if (address == nullptr) {
        *error = "no address space for " + std::to_string(pages->bytes) + " bytes";
        return nullptr;
    }
    imported_.add(address, pages->bytes);
    imports_[handle] = address;
    return address;
}

Physical* Memory::import_physical(uint64_t handle, std::string* error) {
    const auto pages = open_foreign(handle, error);
    return pages ? new Physical{pages->offset, pages->bytes, this, pages->file} : nullptr;
}

bool Memory::close_import(uint64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto import = imports_.find(handle);
    if (import == imports_.end()) {
        return false;
    }
    munmap(import->second, imported_.remove(import->second));
    imports_.erase(import);
    return true;
}

}  // namespace softnpu
