// SPDX-License-Identifier: Apache-2.0
#include "herald.h"

#include "clock.h"
#include "futex.h"
#include "log.h"
#include "tenant.h"
#include "thread.h"

namespace flexnpu {
namespace {

// The newest word of the quota that was followed on a device; told: the daemon knows; clearing: what ran before it is
// not over yet.
struct Followed {
    uint64_t word;
    bool told, clearing;
};
// By device, also those that the program has hidden from itself: the arbiter waits for all.
using Done = Followed[FLEXNPU_DEVICES];

bool is_less(uint64_t quota, uint64_t before) {
    return flexnpu_quota_cube(quota) < flexnpu_quota_cube(before) ||
           flexnpu_quota_vector(quota) < flexnpu_quota_vector(before);
}

// Whether the device is clear, and says so.
bool clear(DeviceTenant& device, Followed& done) {
    done.clearing = done.clearing && !device.gate.is_clear();
    if (!done.clearing) device.report.cleared(flexnpu_quota_grant(done.word));
    return !done.clearing;
}

void apply(DeviceTenant& device, Followed& done, uint64_t word) {
    const uint32_t grant = flexnpu_quota_grant(word);
    device.report.seen(grant);
    device.gate.hold(word);
    const uint32_t given_up = device.probe.turn();
    if (given_up != 0) {
        // Open: an operator that was tiled long ago and never launched does not hold up the quota of others.
        tenant.report.ungoverned();
        log(Level::warn, "grant %u: %u tiled operators were not launched in time and are waited for no longer", grant,
            given_up);
    }
    device.gate.applied(word);
    // What was launched for more cores stands in the way of whoever gets them.
    if (is_less(word, done.word)) {
        device.gate.mark_in_flight();
        done.clearing = true;
    }
    done.word = word;
    done.told = true;
    clear(device, done);
    device.report.applied(grant);
    log(Level::debug, "applied grant %u on device %d", grant, device.quota.device());
}

bool apply_news(Done& done) {
    bool news = false;
    for (uint32_t i = 0; i < tenant.section_count; ++i) {
        DeviceTenant& device = tenant.devices[i];
        const uint64_t word = device.quota.word(std::memory_order_acquire);
        if (word == done[i].word && done[i].told) continue;
        apply(device, done[i], word);
        news = true;
    }
    return news;
}

// True: something is not over.
bool clear_all(Done& done) {
    bool clearing = false;
    for (uint32_t i = 0; i < tenant.section_count; ++i) {
        if (!done[i].clearing) continue;
        if (clear(tenant.devices[i], done[i])) tenant.devices[i].report.ring();
        clearing = clearing || done[i].clearing;
    }
    return clearing;
}

// How often it looks whether the daemon is there: a fraction of a thousandth of a core.
constexpr uint64_t kLookNs = 200'000'000;
// And whether the device is clear, for as long as it is not.
constexpr uint64_t kClearNs = 250'000;

void* follow(void* doorbell) {
    const uint32_t* bell = static_cast<const uint32_t*>(doorbell);
    Done done = {};
    const timespec look = as_timespec(kLookNs), soon = as_timespec(kClearNs);
    for (uint64_t next_ns = 0;;) {
        const uint32_t rung = load_word(*bell, std::memory_order_acquire);
        if (apply_news(done)) continue;
        const bool clearing = clear_all(done);
        // Open: on a kernel that cannot sleep on this page, looking now and then still follows the quota.
        if (!futex_wait(bell, rung, clearing ? &soon : &look)) nap(10'000'000);
        const uint64_t now = now_ns();
        if (now < next_ns) continue;
        next_ns = now + kLookNs;
        if (!return_to_daemon()) continue;
        for (Followed& each : done) each.told = false;
    }
    return nullptr;
}

}  // namespace

bool start_herald(const uint32_t* bell) { return start_thread(follow, const_cast<uint32_t*>(bell)); }

}  // namespace flexnpu
