// SPDX-License-Identifier: Apache-2.0
#include "pools.h"

#include "tenant.h"

namespace flexnpu {
namespace {

struct Pool {
    const void* handle = nullptr;  // null: closed
    uint32_t ordinal = 0;
    uint64_t live = 0;  // bytes of blocks in use
    uint64_t charged = 0;
};

constexpr uint32_t kPools = 256;  // number 0 is none
constinit Pool pools[kPools];
constinit Lock guard;  // of all pools; taken by pool calls only

Ledger& ledger_of(const Pool& pool) { return tenant.devices[pool.ordinal].ledger; }

void lower(Pool& pool, uint64_t kept) {
    const uint64_t floor = kept > pool.live ? kept : pool.live;
    if (pool.charged <= floor) return;
    ledger_of(pool).refund(pool.charged - floor);
    pool.charged = floor;
}

}  // namespace

uint32_t open_pool(const void* handle, uint32_t ordinal) {
    const Held held(guard);
    for (uint32_t i = 1; i < kPools; ++i) {
        if (pools[i].handle != nullptr || pools[i].charged != 0) continue;
        pools[i] = {handle, ordinal, 0, 0};
        return i;
    }
    return 0;
}

uint32_t find_pool(const void* handle) {
    if (handle == nullptr) return 0;
    const Held held(guard);
    for (uint32_t i = 1; i < kPools; ++i) {
        if (pools[i].handle == handle) return i;
    }
    return 0;
}

uint32_t pool_ordinal(uint32_t pool) { return pools[pool].ordinal; }

bool take_from_pool(uint32_t number, uint64_t bytes) {
    const Held held(guard);
    Pool& pool = pools[number];
    const uint64_t kept = pool.charged - pool.live;
    const uint64_t more = bytes > kept ? bytes - kept : 0;
    if (more != 0 && !ledger_of(pool).charge(more, tenant.devices[pool.ordinal].quota.memory_bytes())) return false;
    pool.charged += more;
    pool.live += bytes;
    return true;
}

void give_to_pool(uint32_t number, uint64_t bytes) {
    const Held held(guard);
    Pool& pool = pools[number];
    pool.live -= bytes < pool.live ? bytes : pool.live;
    if (pool.handle == nullptr) lower(pool, 0);
}

void trim_pool(uint32_t number, uint64_t kept) {
    const Held held(guard);
    lower(pools[number], kept);
}

void close_pool(uint32_t number) {
    const Held held(guard);
    pools[number].handle = nullptr;
    lower(pools[number], 0);
}

void settle_pools(uint32_t ordinal, bool (*reserved)(const void* handle, uint64_t* bytes)) {
    const Held held(guard);
    for (Pool& pool : pools) {
        uint64_t kept = 0;
        if (pool.handle != nullptr && pool.ordinal == ordinal && pool.charged > pool.live &&
            reserved(pool.handle, &kept)) {
            lower(pool, kept);
        }
    }
}

void forget_pools_in_child() {
    guard.release();
    for (Pool& pool : pools) pool = Pool{};
}

}  // namespace flexnpu
