// SPDX-License-Identifier: Apache-2.0
// Which key of the executor cache an executor came from, where so many wait for their launch that it could not be noted
// with the tiling. One thread notes it, another asks: each set is a line with a lock of its own, so that they seldom
// meet.
#pragma once

#include <stdint.h>

#include "lock.h"

namespace flexnpu {

class Hits {
  public:
    void put(uint64_t executor, uint64_t key) {
        Set& set = set_of(executor);
        const Held held(set.lock);
        for (Hit& each : set.hits) {
            if (each.executor == executor) return void(each.key = key);
        }
        set.hits[set.turn] = {executor, key};
        set.turn = (set.turn + 1) % kWays;
    }
    // 0: none. It stays until another one needs its place: an executor may be launched again.
    uint64_t find(uint64_t executor) {
        Set& set = set_of(executor);
        const Held held(set.lock);
        for (const Hit& each : set.hits) {
            if (each.executor == executor) return each.key;
        }
        return 0;
    }
    // Tiled anew: what it came from says nothing about it any more.
    void forget(uint64_t executor) {
        Set& set = set_of(executor);
        const Held held(set.lock);
        for (Hit& each : set.hits) {
            if (each.executor == executor) each = {};
        }
    }
    // For a fork's child.
    void release() {
        for (Set& set : sets_) set.lock.release();
    }

  private:
    static constexpr uint32_t kWays = 3;
    static constexpr uint32_t kSets = 1024;
    struct Hit {
        uint64_t executor, key;
    };
    struct alignas(64) Set {
        Hit hits[kWays] = {};
        Lock lock;
        uint32_t turn = 0;
    };
    Set& set_of(uint64_t executor) { return sets_[((executor >> 4) * 0x9e3779b97f4a7c15ull) >> 54]; }
    Set sets_[kSets] = {};
};

}  // namespace flexnpu
