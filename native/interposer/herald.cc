// SPDX-License-Identifier: Apache-2.0
#include "herald.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "futex.h"
#include "log.h"
#include "tenant.h"

namespace flexnpu {
namespace {

void apply(uint32_t revision) {
    tenant.report.seen(revision);
    const uint32_t given_up = tenant.probe.turn();
    if (given_up != 0) {
        // Open: an operator that was tiled long ago and never launched does not hold up the quota of others.
        tenant.report.ungoverned();
        log(Level::warn, "revision %u: %u tiled operators were not launched in time and are waited for no longer",
            revision, given_up);
    }
    tenant.report.applied(revision);
    log(Level::debug, "applied revision %u", revision);
}

void* follow(void*) {
    bool first = true;
    for (uint32_t done = 0;;) {
        const uint32_t rung = load_word(*tenant.quota.doorbell(), std::memory_order_acquire);
        const uint32_t revision = flexnpu_quota_revision(tenant.quota.word(std::memory_order_acquire));
        if (first || revision != done) {
            apply(revision);
            done = revision;
            first = false;
            continue;
        }
        if (!futex_wait(tenant.quota.doorbell(), rung, nullptr)) {
            // Open: a kernel that cannot sleep on this page; looking now and then still follows the quota.
            const timespec pause{0, 10'000'000};
            nanosleep(&pause, nullptr);
        }
    }
    return nullptr;
}

}  // namespace

bool start_herald() {
    // The program's signals are for its own threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    const bool started = pthread_create(&thread, &attributes, follow, nullptr) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

}  // namespace flexnpu
