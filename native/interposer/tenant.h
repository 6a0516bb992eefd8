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

struct DeviceTenant {
    Quota quota;
    DeviceReport report;
    Gate gate;
    Ledger ledger;
    Probe probe;
};

struct Tenant {
    DeviceTenant devices[FLEXNPU_DEVICES];
    uint32_t device_count = 0;
    Report report;
    Graphs graphs;
    std::atomic<bool> attached{false};
};

extern Tenant tenant;

// The ordinal of the device that this thread works with, as the program counts.
extern __thread uint32_t current_ordinal __attribute__((tls_model("initial-exec")));

inline DeviceTenant& here() { return tenant.devices[current_ordinal]; }

// Attaches on the first call. False: no vNPU, and the caller must fail closed; the reason is on stderr.
bool attach();

inline bool attached() { return __builtin_expect(tenant.attached.load(std::memory_order_acquire), true) || attach(); }

}  // namespace flexnpu
