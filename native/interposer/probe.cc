// SPDX-License-Identifier: Apache-2.0
#include "probe.h"

#include <algorithm>

#include "clock.h"
#include "futex.h"

namespace flexnpu {
namespace {

// How long the herald waits for launches before it gives up the executors of a generation. No look adds more than two
// rounds to the time waited, so that a stopped process that goes on does not give up at once.
constexpr uint64_t kRoundNs = 100'000'000;
constexpr uint64_t kQuietNs = 20 * kRoundNs;  // without any launch of that generation
constexpr uint64_t kLongNs = 100 * kRoundNs;  // in all: operators of unknown signature are told apart by name only

constexpr uint64_t pack(uint32_t generation, uint32_t count) { return uint64_t{generation} << 32 | count; }
constexpr uint32_t generation_of(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
constexpr uint32_t count_of(uint64_t word) { return static_cast<uint32_t>(word); }

uint64_t one_more(uint64_t found, uint64_t generation) {
    // Where the executor waits already, its older tiling decides.
    return found != 0 ? found + 1 : pack(static_cast<uint32_t>(generation), 1);
}

uint64_t one_less(uint64_t found, uint64_t) { return count_of(found) > 1 ? found - 1 : 0; }

bool older(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

}  // namespace

// Counted before anybody can take it: a launch that came between the two would count for nothing.
void Probe::put_aside(uint64_t executor, uint32_t generation) {
    const Held held(aside_lock_);
    aside_.fetch_add(1, std::memory_order_relaxed);
    bool kept = true;
    const uint64_t before = executors_.update(executor, one_more, generation, &kept);
    if (!kept) aside_.fetch_sub(1, std::memory_order_relaxed);
    if (!kept) return;  // open: no host memory to follow this executor
    const uint32_t counted = before != 0 ? generation_of(before) : generation;
    std::atomic<uint64_t>& pending = slot(counted);
    uint64_t now = pending.load(std::memory_order_relaxed);
    uint64_t next = 0;
    do {
        if (older(counted, generation_of(now))) return;  // that generation is over; nobody waits for it
        next = generation_of(now) == counted ? now + 1 : pack(counted, 1);
    } while (!pending.compare_exchange_weak(now, next, std::memory_order_seq_cst));
}

Ticket Probe::take_aside(uint64_t executor) {
    const Held held(aside_lock_);
    const uint64_t found = executors_.update(executor, one_less, 0);
    if (found == 0) return {};
    aside_.fetch_sub(1, std::memory_order_relaxed);
    return {generation_of(found)};
}

void Probe::launched_aside(uint32_t generation) {
    std::atomic<uint64_t>& pending = slot(generation);
    uint64_t now = pending.load(std::memory_order_relaxed);
    do {
        if (generation_of(now) != generation || count_of(now) == 0) return;
    } while (!pending.compare_exchange_weak(now, now - 1, std::memory_order_seq_cst));
    if (count_of(now) == 1) ring();
}

void Probe::left(Tiling tiling) {
    if (tiling.place == 0) {
        if (inside_[tiling.generation & 1].fetch_sub(1, std::memory_order_seq_cst) == 1) ring();
        return;
    }
    tilings_.drop(tiling);
    if (__builtin_expect(waiting_.load(std::memory_order_seq_cst), false)) ended(tiling.generation);
}

// Somebody waits: the last one of a generation that is over tells.
void Probe::ended(uint32_t generation) {
    if (generation != current(std::memory_order_relaxed) && tilings_.count(generation).all() == 0) wake();
}

void Probe::destroyed(uint64_t executor) {
    while (const Ticket left = launching(executor)) launched(left);
}

uint32_t Probe::turn() {
    const uint32_t old = turns_.fetch_add(1, std::memory_order_seq_cst) + 1;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    waiting_.store(true, std::memory_order_seq_cst);
    const uint32_t given_up = wait_for(old);
    waiting_.store(false, std::memory_order_relaxed);
    return given_up;
}

uint32_t Probe::wait_for(uint32_t generation) {
    uint32_t last = 0;
    uint64_t quiet = 0;
    uint64_t waited = 0;
    for (uint64_t then = now_ns();;) {
        const uint32_t bell = bell_.load(std::memory_order_seq_cst);
        const Tilings::Count now = count(generation);
        if (now.all() == 0) return 0;
        const uint64_t moment = now_ns();
        const uint64_t step = std::min(moment - then, 2 * kRoundNs);
        then = moment;
        // Whoever tiles is waited for, however long that takes.
        waited = now.tiling != 0 ? 0 : waited + step;
        quiet = now.tiling == 0 && now.waiting == last ? quiet + step : 0;
        last = now.waiting;
        if (quiet >= kQuietNs || waited >= kLongNs) return give_up(generation);
        sleep(bell);
    }
}

// In the order in which an operator goes from one to the next.
Tilings::Count Probe::count(uint32_t generation) const {
    const int32_t inside = inside_[generation & 1].load(std::memory_order_seq_cst);
    Tilings::Count found = tilings_.count(generation);
    const uint64_t aside = pending_[generation % 4].load(std::memory_order_seq_cst);
    if (inside > 0) found.tiling += static_cast<uint32_t>(inside);
    if (generation_of(aside) == generation) found.waiting += count_of(aside);
    return found;
}

uint32_t Probe::give_up(uint32_t generation) {
    uint32_t given_up = tilings_.forget(generation);
    uint64_t aside = slot(generation).load(std::memory_order_seq_cst);
    while (generation_of(aside) == generation && count_of(aside) != 0) {
        const uint64_t over = pack(generation + 4, 0);
        if (!slot(generation).compare_exchange_weak(aside, over, std::memory_order_seq_cst)) continue;
        return given_up + count_of(aside);
    }
    return given_up;
}

void Probe::wake() {
    bell_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake(reinterpret_cast<uint32_t*>(&bell_), 1);
}

void Probe::sleep(uint32_t bell) {
    const timespec round = as_timespec(kRoundNs);
    if (!futex_wait(reinterpret_cast<const uint32_t*>(&bell_), bell, &round)) nap(kRoundNs);
}

void Probe::reset_in_child() {
    for (auto& inside : inside_) inside.store(0, std::memory_order_relaxed);
    for (auto& pending : pending_) pending.store(0, std::memory_order_relaxed);
    tilings_.clear();
    executors_.forget();
    aside_lock_.release();
    aside_.store(0, std::memory_order_relaxed);
    waiting_.store(false, std::memory_order_relaxed);
}

}  // namespace flexnpu
