// SPDX-License-Identifier: Apache-2.0
// Pointers to 64-bit values, in shards so that threads seldom meet. Its memory comes from mmap: it may be used below
// the program's allocator. Zero is neither a key nor a value; zero-initialised, so that no constructor runs at load.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lock.h"

namespace flexnpu {

class PointerMap {
  public:
    // What update() makes of the value it finds (0: none): the new value, or 0 to forget the key.
    using Change = uint64_t (*)(uint64_t found, uint64_t argument);

    // Gives the value found before the change. *kept (optional) says false when a new key found no memory.
    uint64_t update(uint64_t key, Change change, uint64_t argument, bool* kept = nullptr);

    bool put(uint64_t key, uint64_t value);
    uint64_t take(uint64_t key);

    // For a fork's child: forgets everything, and the locks of threads that are not there any more.
    void forget();

  private:
    struct Entry {
        uint64_t key, value;
    };
    struct Shard {
        Lock lock;
        Entry* entries = nullptr;
        size_t capacity = 0, used = 0;  // capacity is a power of two; at most three quarters are used
    };

    static Entry* find(const Shard& shard, uint64_t key);
    static bool insert(Shard& shard, uint64_t key, uint64_t value);
    static bool grow(Shard& shard);
    static void erase(Shard& shard, Entry* entry);

    static constexpr size_t kShards = 32;
    alignas(64) Shard shards_[kShards] = {};
};

}  // namespace flexnpu
