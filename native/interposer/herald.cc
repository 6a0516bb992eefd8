// SPDX-License-Identifier: Apache-2.0
#include "herald.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "futex.h"
#include "log.h"
#include "tenant.h"

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

bool is_before(const timespec& a, const timespec& b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

timespec later(const timespec& moment, const timespec& by) {
    const long ns = moment.tv_nsec + by.tv_nsec;
    return {moment.tv_sec + by.tv_sec + ns / 1'000'000'000, ns % 1'000'000'000};
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
constexpr timespec kLook{0, 200'000'000};

void* follow(void* doorbell) {
    const uint32_t* bell = static_cast<const uint32_t*>(doorbell);
    Done done = {};
    for (timespec next{};;) {
        const uint32_t rung = load_word(*bell, std::memory_order_acquire);
        if (apply_news(done)) continue;
        // Open: on a kernel that cannot sleep on this page, looking now and then still follows the quota.
        constexpr timespec pause{0, 10'000'000};
        if (!futex_wait(bell, rung, &kLook)) nanosleep(&pause, nullptr);
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (is_before(now, next)) continue;
        next = later(now, kLook);
        if (return_to_daemon()) memset(done, 0, sizeof done);
    }
    return nullptr;
}

}  // namespace

bool start_herald(const uint32_t* bell) {
    // The program's signals are for its own threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    const bool started = pthread_create(&thread, &attributes, follow, const_cast<uint32_t*>(bell)) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

}  // namespace flexnpu
