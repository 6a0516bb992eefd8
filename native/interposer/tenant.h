// SPDX-License-Identifier: Apache-2.0
// This process as a tenant: its parts on each device of its vNPU, and the one question every entry asks first.
#pragma once

#include <atomic>

#include "gate.h"
#include "graphs.h"
#include "ledger.h"
#include "probe.h"
#include "quota.h"
#include "report.h"

namespace flexnpu {

// In the order of use: a launch finds what it reads in the first line.
struct alignas(64) DeviceTenant {
    Quota quota;
    DeviceReport report;
    Gate gate;
    Ledger ledger;
    Probe probe;
};

struct alignas(64) Tenant {
    std::atomic<bool> attached{false};
    std::atomic<bool> away{false};
    uint32_t device_count = 0;   // that the program sees
    uint32_t section_count = 0;  // that the vNPU has
    Report report;
    DeviceTenant devices[FLEXNPU_DEVICES];  // by the ordinal that the program knows; behind them those it has hidden
    Graphs graphs;

    // The connection has ended and no daemon has taken this process back yet. The herald looks about five times a
    // second; last quota and limits hold meanwhile.
    bool daemon_is_away() const { return away.load(std::memory_order_acquire); }
};

extern Tenant tenant;

// The ordinal of the device that this thread works with, as the program counts; not known before the thread's first
// call and after one that may have changed it.
constexpr uint32_t unknown_ordinal = FLEXNPU_DEVICES;
extern __thread uint32_t current_ordinal __attribute__((tls_model("initial-exec")));

// Asks the runtime, and makes current_ordinal what it says; the first device where the thread has none.
uint32_t ask_ordinal();

inline uint32_t here_ordinal() {
    const uint32_t known = current_ordinal;
    return __builtin_expect(known < FLEXNPU_DEVICES, true) ? known : ask_ordinal();
}
inline DeviceTenant& here() { return tenant.devices[here_ordinal()]; }

// For the herald: looks whether the daemon is there and, where it is not, tries to go back to one that is. True: a new
// control page has just taken the old one's place.
bool return_to_daemon();

// Attaches on the first call. False: no vNPU, and the caller must fail closed; the reason is on stderr.
bool attach();

inline bool attached() { return __builtin_expect(tenant.attached.load(std::memory_order_acquire), true) || attach(); }

}  // namespace flexnpu
