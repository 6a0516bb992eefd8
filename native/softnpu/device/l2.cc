// SPDX-License-Identifier: Apache-2.0
#include "device/l2.h"

#include <algorithm>

namespace softnpu {
namespace {

void release(L2Range& range) { range.start = range.end = 0; }

// The first free slot, or the one whose range was used longest ago.
L2Range& room(L2State& l2) {
    L2Range* oldest = &l2.ranges[0];
    for (L2Range& range : l2.ranges) {
        if (range.start == range.end) {
            return range;
        }
        oldest = range.last_use < oldest->last_use ? &range : oldest;
    }
    return *oldest;
}

// Takes [start, end) out of what is there. Bytes found.
uint64_t take(L2State& l2, uint32_t process, uint64_t start, uint64_t end) {
    uint64_t found = 0;
    for (L2Range& range : l2.ranges) {
        if (range.process != process || range.end <= start || range.start >= end) {
            continue;
        }
        found += std::min(end, range.end) - std::max(start, range.start);
        const L2Range after{end, range.end, range.last_use, process, 0};
        range.end = std::max(range.start, start);
        if (range.start >= start) {
            release(range);
        }
        if (after.start < after.end) {
            room(l2) = after;
        }
    }
    return found;
}

void shrink_to(L2State& l2, uint64_t capacity) {
    uint64_t total = 0;
    for (const L2Range& range : l2.ranges) {
        total += range.end - range.start;
    }
    while (total > capacity) {
        L2Range* oldest = nullptr;
        for (L2Range& range : l2.ranges) {
            if (range.start != range.end && (oldest == nullptr || range.last_use < oldest->last_use)) {
                oldest = &range;
            }
        }
        total -= oldest->end - oldest->start;
        release(*oldest);
    }
}

}  // namespace

uint64_t use(L2State& l2, uint64_t capacity, uint32_t process, std::span<const Touched> touched) {
    uint64_t found = 0;
    for (const Touched& piece : touched) {
        if (piece.bytes == 0) {
            continue;
        }
        found += take(l2, process, piece.start, piece.start + piece.bytes);
        if (piece.bytes > capacity) {
            shrink_to(l2, 0);
            continue;
        }
        room(l2) = {piece.start, piece.start + piece.bytes, ++l2.uses, process, 0};
        shrink_to(l2, capacity);
    }
    return found;
}

void forget(L2State& l2, uint32_t process) {
    for (L2Range& range : l2.ranges) {
        if (range.process == process) {
            release(range);
        }
    }
}

}  // namespace softnpu
