// SPDX-License-Identifier: Apache-2.0
#include "pointer_map.h"

#include <string.h>
#include <sys/mman.h>

namespace flexnpu {
namespace {

uint64_t mix(uint64_t key) { return (key ^ (key >> 29)) * 0x9e3779b97f4a7c15ull; }

}  // namespace

uint64_t PointerMap::update(uint64_t key, Change change, uint64_t argument, bool* kept) {
    Shard& shard = shards_[mix(key) >> 59];
    Held held(shard.lock);
    Entry* entry = find(shard, key);
    const uint64_t before = entry != nullptr ? entry->value : 0;
    const uint64_t after = change(before, argument);
    bool stored = true;
    if (entry != nullptr && after != 0) {
        entry->value = after;
    } else if (entry != nullptr) {
        erase(shard, entry);
    } else if (after != 0) {
        stored = insert(shard, key, after);
    }
    if (kept != nullptr) *kept = stored;
    return before;
}

bool PointerMap::put(uint64_t key, uint64_t value) {
    bool kept = true;
    update(key, [](uint64_t, uint64_t fresh) { return fresh; }, value, &kept);
    return kept;
}

uint64_t PointerMap::take(uint64_t key) {
    return update(key, [](uint64_t, uint64_t) { return uint64_t{0}; }, 0);
}

void PointerMap::forget() {
    for (Shard& shard : shards_) {
        // What another thread was changing while the process forked is left behind, not read.
        if (shard.entries != nullptr && !shard.lock.is_held()) munmap(shard.entries, shard.capacity * sizeof(Entry));
        shard.entries = nullptr;
        shard.capacity = shard.used = 0;
        shard.lock.release();
    }
}

PointerMap::Entry* PointerMap::find(const Shard& shard, uint64_t key) {
    if (shard.used == 0) return nullptr;
    const size_t mask = shard.capacity - 1;
    for (size_t at = mix(key) & mask; shard.entries[at].key != 0; at = (at + 1) & mask) {
        if (shard.entries[at].key == key) return &shard.entries[at];
    }
    return nullptr;
}

bool PointerMap::insert(Shard& shard, uint64_t key, uint64_t value) {
    if ((shard.used + 1) * 4 > shard.capacity * 3 && !grow(shard)) return false;
    const size_t mask = shard.capacity - 1;
    size_t at = mix(key) & mask;
    while (shard.entries[at].key != 0) at = (at + 1) & mask;
    shard.entries[at] = {key, value};
    ++shard.used;
    return true;
}

bool PointerMap::grow(Shard& shard) {
    const size_t capacity = shard.capacity == 0 ? 256 : shard.capacity * 2;
    void* fresh = mmap(nullptr, capacity * sizeof(Entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED) return false;
    Entry* old = shard.entries;
    const size_t old_capacity = shard.capacity;
    shard.entries = static_cast<Entry*>(fresh);
    shard.capacity = capacity;
    shard.used = 0;
    for (size_t i = 0; i < old_capacity; ++i) {
        if (old[i].key != 0) insert(shard, old[i].key, old[i].value);
    }
    if (old != nullptr) munmap(old, old_capacity * sizeof(Entry));
    return true;
}

void PointerMap::erase(Shard& shard, Entry* entry) {
    // Move up what would no longer be found across the hole.
    const size_t mask = shard.capacity - 1;
    size_t hole = static_cast<size_t>(entry - shard.entries);
    for (size_t at = (hole + 1) & mask; shard.entries[at].key != 0; at = (at + 1) & mask) {
        const size_t home = mix(shard.entries[at].key) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            shard.entries[hole] = shard.entries[at];
            hole = at;
        }
    }
    shard.entries[hole] = {0, 0};
    --shard.used;
}

}  // namespace flexnpu
