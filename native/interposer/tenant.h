// SPDX-License-Identifier: Apache-2.0
// This process as a tenant: its parts, and the one question every entry asks first.
#pragma once

#include <atomic>

#include "gate.h"
#include "ledger.h"
#include "probe.h"
#include "quota.h"
#include "report.h"

namespace flexnpu {

struct Tenant {
    Quota quota;
    Report report;
    Gate gate;
    Ledger ledger;
    Probe probe;
    std::atomic<bool> attached{false};
};

extern Tenant tenant;

// Attaches on the first call. False: no vNPU, and the caller must fail closed; the reason is on stderr.
bool attach();

inline bool attached() { return __builtin_expect(tenant.attached.load(std::memory_order_acquire), true) || attach(); }

}  // namespace flexnpu
