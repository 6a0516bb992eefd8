// SPDX-License-Identifier: Apache-2.0
#include "herald.h"

#include <string.h>

#include "clock.h"
#include "futex.h"
#include "log.h"
#include "tenant.h"
#include "thread.h"

namespace flexnpu {
namespace {

void apply(DeviceTenant& device, uint32_t grant) {
    device.report.seen(grant);
    const uint32_t given_up = device.probe.turn();
    if (given_up != 0) {
        // Open: an operator that was tiled long ago and never launched does not hold up the quota of others.
        tenant.report.ungoverned();
        log(Level::warn, "grant %u: %u tiled operators were not launched in time and are waited for no longer", grant,
            given_up);
    }
    device.report.applied(grant);
    log(Level::debug, "applied grant %u on device %d", grant, device.quota.device());
}

// Grants that are done, by device, also of those that the program has hidden from itself: the arbiter waits for all.
// No grant has number 0.
using Done = uint32_t[FLEXNPU_DEVICES];

bool apply_news(Done& done) {
    bool news = false;
    for (uint32_t i = 0; i < tenant.section_count; ++i) {
        DeviceTenant& device = tenant.devices[i];
        const uint32_t grant = flexnpu_quota_grant(device.quota.word(std::memory_order_acquire));
        if (grant == done[i]) continue;
        apply(device, grant);
        done[i] = grant;
        news = true;
    }
    return news;
}

// How often it looks whether the daemon is there: a fraction of a thousandth of a core.
constexpr uint64_t kLookNs = 200'000'000;

void* follow(void* doorbell) {
    const uint32_t* bell = static_cast<const uint32_t*>(doorbell);
    Done done = {};
    const timespec look = as_timespec(kLookNs);
    for (uint64_t next_ns = 0;;) {
        const uint32_t rung = load_word(*bell, std::memory_order_acquire);
        if (apply_news(done)) continue;
        // Open: on a kernel that cannot sleep on this page, looking now and then still follows the quota.
        if (!futex_wait(bell, rung, &look)) nap(10'000'000);
        const uint64_t now = now_ns();
        if (now < next_ns) continue;
        next_ns = now + kLookNs;
        if (return_to_daemon()) memset(done, 0, sizeof done);
    }
    return nullptr;
}

}  // namespace

bool start_herald(const uint32_t* bell) { return start_thread(follow, const_cast<uint32_t*>(bell)); }

}  // namespace flexnpu
