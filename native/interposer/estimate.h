// SPDX-License-Identifier: Apache-2.0
// How long a launch takes on the device, by its key (function or graph, and blocks): the longest seen, and less with
// each shorter one. A table of fixed size without locks: who races for a place may lose a measurement, never a launch.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

namespace flexnpu {

class Estimates {
  public:
    static constexpr uint32_t kUsesBetween = 64;  // of a key that flies among others, until it is measured alone again

    // Nanoseconds, at least 1; 0: never measured, or due to be measured again.
    uint64_t take(uint64_t key) {
        Entry& entry = place(key);
        if (entry.key.load(std::memory_order_relaxed) != key) return 0;
        const uint32_t uses = entry.uses.load(std::memory_order_relaxed);
        if (uses + 1 >= kUsesBetween) return 0;
        entry.uses.store(uses + 1, std::memory_order_relaxed);
        return entry.ns.load(std::memory_order_relaxed);
    }

    // The newest value, due or not; 0: never measured.
    uint64_t peek(uint64_t key) {
        const Entry& entry = place(key);
        return entry.key.load(std::memory_order_relaxed) == key ? entry.ns.load(std::memory_order_relaxed) : 0;
    }
    bool is_due(uint64_t key) {
        const Entry& entry = place(key);
        return entry.key.load(std::memory_order_relaxed) != key ||
               entry.uses.load(std::memory_order_relaxed) + 1 >= kUsesBetween;
    }

    void learn(uint64_t key, uint64_t ns) {
        Entry& entry = place(key);
        const uint64_t before = is_sure(entry, key) ? entry.ns.load(std::memory_order_relaxed) : 0;
        keep(entry, key, ns >= before ? ns : before - (before - ns) / 4, 0);
    }

    // A measurement that may be far too long. It never lengthens what is known; the first of a key is asked for again,
    // and of two the shorter one counts.
    void guess(uint64_t key, uint64_t ns) {
        Entry& entry = place(key);
        const bool is_first = entry.key.load(std::memory_order_relaxed) != key;
        const uint64_t before = entry.ns.load(std::memory_order_relaxed);
        keep(entry, key, is_first || ns < before ? ns : before, is_first ? kGuessed : 0);
    }

  private:
    struct Entry {
        std::atomic<uint64_t> key{}, ns{};
        std::atomic<uint32_t> uses{};
    };

    static constexpr uint32_t kGuessed = kUsesBetween;

    static bool is_sure(const Entry& entry, uint64_t key) {
        return entry.key.load(std::memory_order_relaxed) == key &&
               entry.uses.load(std::memory_order_relaxed) != kGuessed;
    }

    static void keep(Entry& entry, uint64_t key, uint64_t ns, uint32_t uses) {
        entry.ns.store(ns > 0 ? ns : 1, std::memory_order_relaxed);
        entry.uses.store(uses, std::memory_order_relaxed);
        entry.key.store(key, std::memory_order_relaxed);
    }

    // Its own place, or a free one beside it, or the first of the row, whose key is then forgotten.
    Entry& place(uint64_t key) {
        Entry* row = &entries_[(key * 0x9e3779b97f4a7c15ull >> 54) & ~size_t{kRow - 1}];
        Entry* free = nullptr;
        for (size_t i = 0; i < kRow; ++i) {
            const uint64_t found = row[i].key.load(std::memory_order_relaxed);
            if (found == key) return row[i];
            if (found == 0 && free == nullptr) free = &row[i];
        }
        return free != nullptr ? *free : row[key % kRow];
    }

    static constexpr size_t kRow = 4;
    static constexpr size_t kEntries = 1024;
    Entry entries_[kEntries]{};
};

}  // namespace flexnpu
