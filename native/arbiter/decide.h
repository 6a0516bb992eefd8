// SPDX-License-Identifier: Apache-2.0
//
// The arbiter's decision: which vNPUs of one device get which cores now, their own and those that idle ones lend.
// Pure: no clock, environment, log, lock or randomness; the same snapshot gives the same plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flexnpu {

struct Cores {
    uint32_t cube = 0, vector = 0;
    bool operator==(const Cores&) const = default;
};

// What a control page says, or said.
struct Grant {
    uint32_t number = 0;    // rises by one with each grant of a page
    uint32_t revision = 0;  // the newest of the registry's that it fulfils
    Cores own;              // guaranteed
    Cores lent;             // beyond, for as long as their owners are idle
    bool time_shared = false;
    Cores all() const { return {own.cube + lent.cube, own.vector + lent.vector}; }
    bool operator==(const Grant&) const = default;
};

// What the registry says.
struct Wanted {
    uint32_t revision = 0;
    Cores own;
    uint32_t burst = 0;  // most cube cores that lending may bring it to
    bool time_shared = false;
};

struct VNpuView {
    Wanted desired;
    Grant granted;
    std::vector<Grant> older;   // published before `granted`; not yet known to be out of use
    uint32_t live_tenants = 0;  // processes that may still launch work
    uint32_t applied = 0;       // lowest number over the live tenants; meaningless without one
    uint32_t clear = 0;      // the same: nothing launched under an older one is on the device any more. 0: as applied
    int64_t changed_ns = 0;  // when `desired` or `granted` last changed
    bool idle = false;       // launches nothing, and will ring before it does again
    bool launching = false;  // has launched since it was last idle: it can use what others lend
    uint32_t priority = 0;   // in its turns; higher goes first
};

struct Snapshot {
    Cores device;
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

// The most cores that work of this vNPU may still use: the grant, an older one that a live tenant has not left, or what
// was guaranteed to it when work was launched that still runs. (Of a loan, only that nothing more is launched on it.)
Cores held_cores(const VNpuView& vnpu);
// On the whole device: those that share it in time count as one, as at most one of them runs.
Cores held_cores(const std::vector<VNpuView>& vnpus);

// No live tenant can launch work tiled under a grant older than the present one.
bool is_applied(const VNpuView& vnpu);
// The newest revision that is granted and applied by every live tenant.
uint32_t applied_revision(const VNpuView& vnpu);

// Moves grants towards what is desired. A shrink is granted at once; a growth only when, with everything that may still
// be in use, it fits the device. Of those who leave the shared time together, a higher priority keeps its cores, in its
// turns, until the others have applied theirs. Whoever calls keeps the sum of the desired cores within the device; then
// every desired grant is reached once the tenants acknowledge. What is promised to nobody or to those who are idle is
// lent to the others, evenly, as far as their burst goes; it is taken back at once when its owner wakes up or is to
// change.
Plan decide(const Snapshot& snapshot, int64_t now_ns);

}  // namespace flexnpu
