// SPDX-License-Identifier: Apache-2.0
// Attaching, and what a fork means for it. A tenant attaches at its first call that needs the device; until then a
// preloaded process is untouched. A failed attach is closed: the call fails, and the next one tries again.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "herald.h"
#include "log.h"
#include "tenant.h"

namespace flexnpu {

constinit Tenant tenant;

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
    tenant.ledger.reset_in_child();
    tenant.probe.reset_in_child();
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
    tenant.quota.bind(pages.control);
    tenant.report.bind(pages.report);
    tenant.ledger.bind(&tenant.report);
    tenant.gate.bind(&tenant.quota, &tenant.report);
    if (!fork_is_handled) fork_is_handled = pthread_atfork(nullptr, nullptr, in_child) == 0;
    if (!start_herald()) {
        tell("no thread can be started to follow the quota: raise the limit of processes (ulimit -u)");
        let_go(&pages);
        return false;
    }
    const uint64_t word = tenant.quota.word();
    log(Level::info, "attached to vNPU '%s' on device %d: %u cube and %u vector cores, %llu bytes, revision %u", vnpu,
        tenant.quota.device(), flexnpu_quota_cube(word), flexnpu_quota_vector(word),
        static_cast<unsigned long long>(tenant.quota.memory_bytes()), flexnpu_quota_revision(word));
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
