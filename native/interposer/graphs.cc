// SPDX-License-Identifier: Apache-2.0
#include "graphs.h"

#include <algorithm>

namespace flexnpu {
namespace {

uint64_t key(void* handle) { return reinterpret_cast<uint64_t>(handle) + 1; }  // the default stream is null
uint32_t counts_of(uint64_t word) { return static_cast<uint32_t>(word); }
uint64_t keep(uint64_t found, uint64_t) { return found; }

// A graph that is captured in several parts occupies the cores of its largest.
uint64_t larger(uint64_t found, uint64_t counts) {
    const uint32_t cube = std::max(flexnpu_quota_cube(found), flexnpu_quota_cube(counts));
    const uint32_t vector = std::max(flexnpu_quota_vector(found), flexnpu_quota_vector(counts));
    return (found & ~uint64_t{UINT32_MAX}) | counts_of(flexnpu_pack_quota(0, cube, vector));
}

}  // namespace

// Zero: forgets it. No key stands beside the value of another: it goes first and comes last.
void Graphs::remember(uint64_t key, uint64_t value) {
    Recent& place = recent(key);
    if (value == 0 && place.key.load(std::memory_order_relaxed) != key) return;
    place.key.store(0, std::memory_order_seq_cst);
    place.value.store(value, std::memory_order_seq_cst);
    if (value != 0) place.key.store(key, std::memory_order_seq_cst);
}

uint64_t Graphs::look_up(uint64_t key) {
    Recent& place = recent(key);
    if (place.key.load(std::memory_order_seq_cst) == key) {
        const uint64_t value = place.value.load(std::memory_order_seq_cst);
        if (place.key.load(std::memory_order_seq_cst) == key) return value;
    }
    return known_.update(key, keep, 0);
}

void Graphs::begin(void* stream, uint32_t counts) { known_.put(key(stream), counts); }

bool Graphs::end(void* stream, void* graph, uint32_t ordinal) {
    const uint32_t counts = counts_of(known_.take(key(stream)));
    if (graph != nullptr && counts != 0) {
        const Held held(lock_);
        const uint64_t before = known_.update(key(graph), larger, counts);
        if (before == 0) known_.put(key(graph), uint64_t{list(counts, ordinal)} << 32 | counts);
        remember(key(graph), known_.update(key(graph), keep, 0));
    }
    return counts != 0;
}

// The place + 1; 0: no room, the graph is governed all the same.
uint32_t Graphs::list(uint32_t counts, uint32_t ordinal) {
    const uint64_t captured = uint64_t{ordinal + 1} << 32 | counts;
    for (uint32_t i = 0; i < FLEXNPU_GRAPHS; ++i) {
        flexnpu_graph& graph = page_->graphs[i];
        uint64_t free = 0;
        if (!__atomic_compare_exchange_n(&graph.captured, &free, captured, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            continue;
        }
        __atomic_store_n(&graph.replays, 0, __ATOMIC_RELAXED);
        return i + 1;
    }
    return 0;
}

uint32_t Graphs::replay(void* graph) {
    const uint64_t found = look_up(key(graph));
    const uint64_t place = found >> 32;
    if (place != 0) __atomic_fetch_add(&page_->graphs[place - 1].replays, 1, __ATOMIC_RELAXED);
    return counts_of(found);
}

void Graphs::destroyed(void* graph) {
    const Held held(lock_);
    remember(key(graph), 0);
    const uint64_t place = known_.take(key(graph)) >> 32;
    if (place != 0) __atomic_store_n(&page_->graphs[place - 1].captured, 0, __ATOMIC_RELEASE);
}

void Graphs::reset_in_child() {
    lock_.release();
    for (Recent& each : recent_) each.key.store(0, std::memory_order_relaxed);
    known_.forget();
}

}  // namespace flexnpu
