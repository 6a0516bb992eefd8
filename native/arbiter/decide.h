// SPDX-License-Identifier: Apache-2.0
//
// The arbiter's decision: which vNPUs of one device get which cores now.
// Pure: no clock, environment, log, lock or randomness; the same snapshot gives the same plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flexnpu {

// A number of cube cores together with the quota revision that says it.
struct Grant {
    uint32_t revision = 0;
    uint32_t cores = 0;
    bool operator==(const Grant&) const = default;
};

struct VNpuView {
    Grant desired;                  // what the registry says
    Grant granted;                  // what the control page says
    std::vector<Grant> older;       // published before `granted`; not yet known to be out of use
    uint32_t live_tenants = 0;      // processes that may still launch work
    uint32_t applied_revision = 0;  // lowest over the live tenants; meaningless without one
    int64_t changed_ns = 0;         // when `desired` last changed
};

struct Snapshot {
    uint32_t device_cores = 0;
    std::vector<VNpuView> vnpus;
};

struct Plan {
    struct Step {
        size_t vnpu;  // index in Snapshot::vnpus
        Grant grant;  // to be published on its control page
        bool operator==(const Step&) const = default;
    };
    std::vector<Step> steps;
    // Something is still to be granted or applied: look again within so many ns. 0: nothing is pending.
    int64_t look_again_ns = 0;
};

// The most cores that work of this vNPU may still use: the grant, or an older one that a live tenant has not left.
uint32_t held_cores(const VNpuView& vnpu);

// No live tenant can launch work tiled under a revision older than the granted one.
bool is_applied(const VNpuView& vnpu);

// Moves grants towards what is desired. A shrink is granted at once; a growth only when, with everything that may still
// be in use, it fits the device. Whoever calls keeps the sum of the desired cores within the device; then every desired
// grant is reached once the tenants acknowledge.
Plan decide(const Snapshot& snapshot, int64_t now_ns);

}  // namespace flexnpu
