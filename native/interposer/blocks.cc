// SPDX-License-Identifier: Apache-2.0
#include "blocks.h"

#include <atomic>

#include "log.h"
#include "pools.h"
#include "tenant.h"

namespace flexnpu {
namespace {

constexpr uint64_t kKnown = uint64_t{1} << 63;
constexpr uint32_t kOrdinalAt = 48;
constexpr uint32_t kPoolAt = 52;
static_assert(FLEXNPU_DEVICES <= 1u << (kPoolAt - kOrdinalAt));

uint64_t pack(const Block& block) {
    return kKnown | (block.bytes & FLEXNPU_LEDGER_BYTES) | uint64_t{block.ordinal} << kOrdinalAt |
           uint64_t{block.pool} << kPoolAt;
}

Block unpack(uint64_t word) {
    if (word == 0) return {};
    return {word & FLEXNPU_LEDGER_BYTES, static_cast<uint32_t>(word >> kOrdinalAt) & 0xfu,
            static_cast<uint32_t>(word >> kPoolAt) & 0xffu};
}

uint64_t key(const void* address) { return reinterpret_cast<uint64_t>(address); }

uint64_t as_found(uint64_t found, uint64_t) { return found; }
uint64_t replaced(uint64_t, uint64_t fresh) { return fresh; }

constinit PointerMap blocks;

// A handle's value may come again while mappings of its first memory are still there, so each memory has a number.
constexpr uint64_t kCount = 0xffff;  // of the low bits: holders; above them the number
constinit PointerMap numbers;        // handle to number, and how often the handle was given out
constinit PointerMap holders;        // number to how many hold it
constinit PointerMap prices;         // number to block
constinit PointerMap mappings;       // address to number
constinit std::atomic<uint64_t> last_number;

uint64_t one_more(uint64_t found, uint64_t) { return found == 0 ? 0 : found + 1; }
uint64_t again(uint64_t found, uint64_t number) { return found == 0 ? number << 16 | 1 : found + 1; }
uint64_t one_less(uint64_t found, uint64_t) { return found <= 1 ? 0 : found - 1; }
uint64_t once_less(uint64_t found, uint64_t) { return (found & kCount) <= 1 ? 0 : found - 1; }

void tell_forgotten(const void* address, uint64_t bytes) {
    log(Level::warn, "no host memory to remember block %p: its %llu bytes stay charged until the program ends", address,
        static_cast<unsigned long long>(bytes));
}

void hold_handle(const void* handle, uint64_t number) {
    numbers.update(key(handle), again, number);
    holders.update(number, [](uint64_t found, uint64_t) { return found + 1; }, 0);
}

Block drop(uint64_t number) {
    if (number == 0 || holders.update(number, one_less, 0) != 1) return {};
    return unpack(prices.take(number));
}

}  // namespace

void remember_block(const void* address, const Block& block) {
    if (!block || address == nullptr) return;
    bool kept = true;
    const Block stale = unpack(blocks.update(key(address), replaced, pack(block), &kept));
    // The device gives no address out twice, so what stood there is gone: two threads freed it at once, and the one
    // whose free was refused put it back.
    refund_block(stale);
    if (!kept) tell_forgotten(address, block.bytes);
}

Block forget_block(const void* address) { return address == nullptr ? Block{} : unpack(blocks.take(key(address))); }

void refund_block(const Block& block) {
    if (block.pool != 0) {
        give_to_pool(block.pool, block.bytes);
    } else if (block) {
        tenant.devices[block.ordinal].ledger.refund(block.bytes);
    }
}

void tell_denied(uint32_t ordinal, uint64_t asked) {
    DeviceTenant& device = tenant.devices[ordinal];
    device.report.denied();
    log(Level::warn, "out of device memory: %llu bytes asked, %llu of %llu used: raise the vNPU's memory",
        static_cast<unsigned long long>(asked), static_cast<unsigned long long>(device.ledger.used()),
        static_cast<unsigned long long>(device.quota.memory_bytes()));
}

void remember_physical(const void* handle, const Block& block) {
    if (!block || handle == nullptr) return;
    const uint64_t number = last_number.fetch_add(1, std::memory_order_relaxed) + 1;
    if (!prices.put(number, pack(block)) || !holders.put(number, 1) || !numbers.put(key(handle), number << 16 | 1)) {
        prices.take(number);
        holders.take(number);
        tell_forgotten(handle, block.bytes);
    }
}

Dropped drop_physical(const void* handle) {
    if (handle == nullptr) return {};
    const uint64_t number = numbers.update(key(handle), once_less, 0) >> 16;
    return {number, drop(number)};
}

void restore_physical(const void* handle, const Dropped& dropped) {
    if (dropped.number == 0) return;
    if (dropped.price) prices.put(dropped.number, pack(dropped.price));
    hold_handle(handle, dropped.number);
}

void mapped_physical(const void* address, const void* handle) {
    const uint64_t number = numbers.update(key(handle), as_found, 0) >> 16;
    if (number == 0 || address == nullptr || holders.update(number, one_more, 0) == 0) return;
    if (!mappings.put(key(address), number)) drop(number);  // open: the handle alone holds it
}

void retained_physical(const void* handle, const void* mapping) {
    const uint64_t number = mappings.update(key(mapping), as_found, 0);
    if (number != 0) hold_handle(handle, number);
}

Block drop_mapping(const void* address) { return address == nullptr ? Block{} : drop(mappings.take(key(address))); }

void forget_blocks_in_child() {
    for (PointerMap* map : {&blocks, &numbers, &holders, &prices, &mappings}) map->forget();
}

}  // namespace flexnpu
