// SPDX-License-Identifier: Apache-2.0
// Attaching, and what a fork means for it. A tenant attaches at its first call that needs the device; until then a
// preloaded process is untouched. A failed attach is closed: the call fails, and the next one tries again.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "entries/observe.h"
#include "handshake.h"
#include "herald.h"
#include "log.h"
#include "tenant.h"

namespace flexnpu {

constinit Tenant tenant;
__thread uint32_t current_ordinal;

namespace {

constinit Pages pages;
pthread_mutex_t attaching = PTHREAD_MUTEX_INITIALIZER;
bool fork_is_handled = false;
char last_told[512];

// One line per reason, however often a program tries.
void tell(const char* why) {
    if (strcmp(why, last_told) == 0) return;
    memcpy(last_told, why, sizeof last_told);
    log(Level::error, "this program gets no device: %s", why);
}

// The child of a fork has no herald and must not write its parent's page. It becomes a process that never attached:
// its next call attaches it anew, as a tenant of its own, or fails closed.
void in_child() {
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&attaching, &fresh, sizeof fresh);
    if (!tenant.attached.exchange(false)) return;
    let_go(&pages);
    stop_observing_in_child();
    for (DeviceTenant& device : tenant.devices) {
        device.ledger.reset_in_child();
        device.probe.reset_in_child();
    }
}

void bind_parts() {
    tenant.device_count = pages.control->device_count;
    tenant.report.bind(pages.report);
    start_observing(&pages.control->phase);
    for (uint32_t i = 0; i < tenant.device_count; ++i) {
        DeviceTenant& device = tenant.devices[i];
        device.quota.bind(&pages.control->devices[i]);
        device.report.bind(&pages.report->devices[i]);
        device.ledger.bind(&pages.ledger->devices[i], pages.slot);
        device.gate.bind(&device.quota, &device.report);
    }
}

bool connect_tenant() {
    const char* socket_path = getenv("FLEXNPU_SOCKET");
    const char* vnpu = getenv("FLEXNPU_VNPU");
    if (socket_path == nullptr || *socket_path == '\0' || vnpu == nullptr || *vnpu == '\0') {
        tell("FLEXNPU_SOCKET and FLEXNPU_VNPU are not both set: start it with 'flexnpu run', or without LD_PRELOAD");
        return false;
    }
    char why[512] = "";
    if (!shake_hands(socket_path, vnpu, &pages, why)) {
        tell(why);
        return false;
    }
    bind_parts();
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

}  // namespace

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
