// SPDX-License-Identifier: Apache-2.0
#include "tilings.h"

namespace flexnpu {
namespace {

constexpr uint32_t kTries = 8;

}  // namespace

__thread uint32_t Tilings::next, Tilings::newest_taken;

// Its next place is taken: by what it tiled a round ago, or by another thread that tiles and has come as far. A few
// steps on, or else far away from that thread.
uint32_t Tilings::begin_elsewhere(uint32_t generation) {
    for (uint32_t at = next + 1; at != next + kTries; ++at) {
        uint64_t now = place(at).word.load(std::memory_order_relaxed);
        if (now != 0 || !place(at).word.compare_exchange_strong(now, word(kTiling, generation))) continue;
        next = at;
        return at % kPlaces + 1;
    }
    next += kPlaces / 4 + kTries;  // in time everywhere
    return 0;
}

// From where this thread looked last: of two tilings of one executor the older one comes first.
Ticket Tilings::search(uint64_t executor, uint32_t expected) {
    if (executor > kExecutor) return {};
    const uint32_t from = newest_taken + 1;
    for (uint32_t at = from; at != from + kPlaces; ++at) {
        Place& mine = place(at);
        uint64_t found = mine.word.load(std::memory_order_relaxed);
        if ((found & kExecutor) != executor) continue;
        // Sixteen bits of it tell: nobody is more than one generation apart, the ones before are over or given up.
        const auto apart = static_cast<int16_t>(static_cast<uint16_t>(found >> 48) - static_cast<uint16_t>(expected));
        const uint32_t generation = expected + static_cast<uint32_t>(int32_t{apart});
        if (!mine.word.compare_exchange_strong(found, word(kLaunching, generation), std::memory_order_seq_cst))
            continue;
        newest_taken = at;
        return {generation, at % kPlaces + 1, mine.note.load(std::memory_order_relaxed)};
    }
    return {};
}

Tilings::Count Tilings::count(uint32_t generation) const {
    Count found;
    for (const Place& each : places_) {
        const uint64_t now = each.word.load(std::memory_order_seq_cst);
        if (is_of(now, generation)) ++((now & kExecutor) == kTiling ? found.tiling : found.waiting);
    }
    return found;
}

uint32_t Tilings::forget(uint32_t generation) {
    uint32_t forgotten = 0;
    for (Place& each : places_) {
        uint64_t now = each.word.load(std::memory_order_seq_cst);
        if (!is_of(now, generation) || (now & kExecutor) == kTiling) continue;
        forgotten += each.word.compare_exchange_strong(now, 0, std::memory_order_seq_cst);
    }
    return forgotten;
}

void Tilings::clear() {
    for (Place& each : places_) each.word.store(0, std::memory_order_relaxed);
}

}  // namespace flexnpu
