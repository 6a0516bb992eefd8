// SPDX-License-Identifier: Apache-2.0
// Attaching, and what a fork means for it. A tenant attaches at its first call that needs the device; until then a
// preloaded process is untouched. A failed attach is closed: the call fails, and the next one tries again.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "blocks.h"
#include "clock.h"
#include "communicators.h"
#include "entries/observe.h"
#include "handshake.h"
#include "herald.h"
#include "log.h"
#include "pools.h"
#include "tenant.h"
#include "unlisted.h"
#include "visible.h"

namespace flexnpu {

constinit Tenant tenant;
__thread uint32_t current_ordinal = unknown_ordinal;

namespace {

constinit Pages pages;
pthread_mutex_t attaching = PTHREAD_MUTEX_INITIALIZER;
bool fork_is_handled = false;
uint64_t waited_s = 0;  // for a daemon, in vain

constexpr uint64_t kPatienceAtMostS = 60;
constexpr uint64_t kFirstPauseNs = 5'000'000;
constexpr uint64_t kPauseNs = 200'000'000;
char last_told[512];

// Where the daemon is, as the environment had it when this process attached.
char socket_path_kept[108];
char vnpu_kept[FLEXNPU_NAME_SIZE];
int connecting = -1;  // to a daemon that has started anew
bool refused;         // the herald's: the last answer, and the looks to let pass before the next try
int rest;

// One line per reason, however often a program tries.
bool is_news(const char* why) {
    if (strcmp(why, last_told) == 0) return false;
    memcpy(last_told, why, sizeof last_told);
    return true;
}

void tell(const char* why) {
    if (is_news(why)) log(Level::error, "this program gets no device: %s", why);
}

// The child of a fork has no herald and must not write its parent's page. It becomes a process that never attached:
// its next call attaches it anew, as a tenant of its own, or fails closed.
void in_child() {
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&attaching, &fresh, sizeof fresh);
    if (!tenant.attached.exchange(false)) return;
    tenant.away.store(false);
    if (connecting >= 0) close(connecting);
    connecting = -1;
    let_go(&pages);
    forget_blocks_in_child();
    forget_pools_in_child();
    forget_communicators_in_child();
    stop_observing_in_child();
    for (DeviceTenant& device : tenant.devices) {
        device.probe.reset_in_child();
        device.gate.reset_in_child();
    }
    tenant.graphs.reset_in_child();
}

bool bind_parts(char (&why)[512]) {
    uint32_t order[FLEXNPU_DEVICES] = {};
    tenant.section_count = pages.control->device_count;
    tenant.device_count = choose_visible(tenant.section_count, order, why);
    tenant.report.bind(pages.report);
    tenant.graphs.bind(pages.report);
    Gate::connect(pages.socket);
    start_observing(pages.control);
    for (uint32_t i = 0; i < tenant.section_count; ++i) {
        DeviceTenant& device = tenant.devices[i];
        device.quota.bind(&pages.control->devices[order[i]]);
        device.report.bind(&pages.report->devices[order[i]]);
        device.ledger.bind(&pages.ledger->devices[order[i]], pages.slot);
        const uint32_t physical = pages.control->devices[order[i]].physical;
        uint64_t* const hail = physical < FLEXNPU_HAILS ? &pages.hails->devices[physical].hail : nullptr;
        device.gate.bind(i, &pages.control->devices[order[i]], &device.quota, &device.report, hail);
    }
    return tenant.device_count != 0;
}

// Seconds that a program waits for a daemon that is not there. Who starts it for a vNPU says that one is meant to be.
bool read_patience(uint64_t* seconds, char (&why)[512]) {
    const char* text = getenv("FLEXNPU_DAEMON_WAIT");
    *seconds = 0;
    if (text == nullptr || *text == '\0') return true;
    char* end = nullptr;
    *seconds = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && *seconds <= kPatienceAtMostS) return true;
    snprintf(why, sizeof why, "FLEXNPU_DAEMON_WAIT is '%.32s', 0 to %llu seconds are possible", text,
             static_cast<unsigned long long>(kPatienceAtMostS));
    return false;
}

// It may be starting anew: looked for ever less often. A program whose wait was in vain does not wait at its next call.
bool meet_daemon(const char* socket_path, const char* vnpu, char (&why)[512]) {
    uint64_t patience_s = 0;
    if (!read_patience(&patience_s, why)) return false;
    const uint64_t end = now_ns() + (waited_s == 0 ? patience_s : 0) * 1'000'000'000;
    Hands found = shake_hands(socket_path, vnpu, &pages, why);
    for (uint64_t pause = kFirstPauseNs; found == Hands::nobody && now_ns() < end;
         pause = std::min(2 * pause, kPauseNs)) {
        if (is_news(why)) log(Level::info, "%s It is waited for, up to %s s", why, getenv("FLEXNPU_DAEMON_WAIT"));
        nap(pause);
        found = shake_hands(socket_path, vnpu, &pages, why);
    }
    waited_s = found == Hands::nobody ? patience_s : 0;
    const size_t length = strlen(why);
    if (waited_s != 0) {
        snprintf(why + length, sizeof why - length, " It was waited for, for %llu s",
                 static_cast<unsigned long long>(waited_s));
    }
    return found == Hands::shaken;
}

bool connect_tenant() {
    const char* socket_path = getenv("FLEXNPU_SOCKET");
    const char* vnpu = getenv("FLEXNPU_VNPU");
    if (socket_path == nullptr || *socket_path == '\0' || vnpu == nullptr || *vnpu == '\0') {
        tell("FLEXNPU_SOCKET and FLEXNPU_VNPU are not both set: start it with 'flexnpu run', or without LD_PRELOAD");
        return false;
    }
    char why[512] = "";
    if (!meet_daemon(socket_path, vnpu, why)) {
        tell(why);
        return false;
    }
    if (!bind_parts(why)) {
        tell(why);
        let_go(&pages);
        return false;
    }
    // Both fit: a longer one has been refused.
    strncpy(socket_path_kept, socket_path, sizeof socket_path_kept - 1);
    strncpy(vnpu_kept, vnpu, sizeof vnpu_kept - 1);
    report_unlisted();
    if (!fork_is_handled) fork_is_handled = pthread_atfork(nullptr, nullptr, in_child) == 0;
    if (!start_herald(&pages.control->bell)) {
        tell("no thread can be started to follow the quota: raise the limit of processes (ulimit -u)");
        let_go(&pages);
        return false;
    }
    for (uint32_t i = 0; i < tenant.device_count; ++i) {
        const Quota& quota = tenant.devices[i].quota;
        log(Level::info, "attached to vNPU '%s' on device %d: %u cube and %u vector cores, %llu bytes, grant %u", vnpu,
            quota.device(), quota.cube(), quota.vector(), static_cast<unsigned long long>(quota.memory_bytes()),
            quota.grant());
    }
    return true;
}

// What the new daemon is told first: nothing that it will grant has been applied.
void forget_applied() {
    for (uint32_t i = 0; i < tenant.section_count; ++i) tenant.devices[i].report.forget_applied();
}

bool try_again() {
    char why[512] = "";
    forget_applied();
    const Hands found = shake_hands_again(socket_path_kept, vnpu_kept, &pages, &connecting, why);
    if (found != Hands::shaken) {
        // A daemon that is not up yet is no news.
        const bool nobody = found == Hands::nobody;
        if (!nobody && is_news(why)) {
            log(Level::error, "the daemon does not take this program back, its last quota holds: %s", why);
        }
        refused = !nobody;
        return false;
    }
    last_told[0] = '\0';
    return true;
}

}  // namespace

bool return_to_daemon() {
    if (!tenant.daemon_is_away()) {
        if (!is_hung_up(pages)) return false;
        log(Level::info, "the daemon is gone: the last quota holds until it is back");
        tenant.away.store(true, std::memory_order_release);
        refused = false;
        rest = 0;
    }
    // A look is a fifth of a second; a daemon that has refused is asked every two seconds.
    constexpr int after_refusal = 10;
    if (rest > 0 && --rest > 0) return false;
    if (!try_again()) {
        rest = refused ? after_refusal : 0;
        return false;
    }
    tenant.away.store(false, std::memory_order_release);
    Gate::connect(pages.socket);
    log(Level::info, "the daemon is back");
    return true;
}

bool attach() {
    pthread_mutex_lock(&attaching);
    if (!tenant.attached.load(std::memory_order_relaxed) && connect_tenant()) {
        tenant.attached.store(true, std::memory_order_release);
    }
    const bool done = tenant.attached.load(std::memory_order_relaxed);
    pthread_mutex_unlock(&attaching);
    return done;
}

}  // namespace flexnpu
