// SPDX-License-Identifier: Apache-2.0
//
// One device's arbiter: keeps what vNPUs want, what they were granted and what their tenants still use, runs decide()
// and writes the control pages. A call steps at once in the caller's thread; the arbiter's own thread only watches for
// tenants that have yet to apply, and sleeps without a timeout when there are none.
// Lock order: mutex_ is the only lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "arbiter/decide.h"
#include "arbiter/futex.h"
#include "arbiter/pages.h"

namespace flexnpu {

using VNpuId = uint64_t;
using TenantId = uint64_t;

// What the registry says of a vNPU on this device.
struct Quota {
    uint32_t revision = 0;
    uint32_t cores = 0;         // cube cores, guaranteed
    uint32_t burst_cores = 0;   // cube cores that idle ones of others may bring it to
    uint32_t vector_cores = 0;  // 0: they follow the cube cores in proportion
    uint64_t memory_bytes = 0;
    uint32_t share = 0;     // of the device's time, in 1/10,000; 0: not time-shared
    bool fixed = false;     // never more than the share, even alone
    uint32_t priority = 0;  // higher goes first
};

struct Change {
    VNpuId vnpu;
    Quota quota;
};

struct VNpuState {
    Grant desired, granted;
    uint32_t held_cores = 0;
    uint32_t live_tenants = 0;
    uint32_t applied_revision = 0;  // newest revision that is granted and applied by every live tenant
    int64_t applied_after_ns = 0;   // from the change to the moment the arbiter saw it applied
};

class Arbiter {
  public:
    // vector_cores follow in proportion: a grant of n cube cores brings n * vector_cores / device_cores.
    Arbiter(uint32_t device_cores, uint32_t vector_cores);
    ~Arbiter();
    Arbiter(const Arbiter&) = delete;
    Arbiter& operator=(const Arbiter&) = delete;

    // Throws std::invalid_argument for a known id.
    // `ordinal`: of this device within the vNPU.
    void add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota);
    // The same for a vNPU of an earlier daemon: `older` are grants that its tenants may still use, `absent` the number
    // of those tenants. They have applied nothing until they come back; returns their ids.
    std::vector<TenantId> restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
                                  std::vector<Grant> older, uint32_t absent);
    // All changes are wanted at once, so that no growth runs ahead of the shrink it needs.
    void change(std::span<const Change> changes);
    // What its live tenants still use stays held until they are gone.
    void remove(VNpuId id);
    // `fresh`: the process cannot have work older than the grant it now finds. Not so one that comes back.
    TenantId attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh);
    void detach(VNpuId id, TenantId tenant);

    VNpuState state(VNpuId id) const;
    uint32_t held_cores() const;  // over the device
    // Readable (an eventfd) after a grant was published or applied; who reads it asks state() again.
    int event_fd() const { return event_fd_; }

  private:
    struct Tenant {
        std::shared_ptr<ReportPage> page;  // null while absent
        uint32_t pid;
        uint32_t base_revision;
    };
    struct VNpu {
        std::shared_ptr<ControlPage> page;
        uint32_t ordinal;
        VNpuView view;
        Quota quota;
        std::map<TenantId, Tenant> tenants;
        Grant done;  // the newest grant that was applied
        int64_t applied_after_ns;
        bool leaving;
    };

    void run();
    // With mutex_ held: read reports, decide, publish; the time until the next look, 0 for never.
    int64_t step();
    bool refresh(VNpu& vnpu, int64_t now_ns);
    bool carry_out(const Plan& plan, const std::vector<VNpu*>& order);
    void step_and_wake();
    VNpu& find(VNpuId id);
    const VNpu& find(VNpuId id) const;

    const uint32_t device_cores_, vector_cores_;
    int event_fd_ = -1;
    mutable std::mutex mutex_;
    std::map<VNpuId, VNpu> vnpus_;
    TenantId next_tenant_ = 1;
    std::atomic<bool> stopping_ = false;
    std::atomic<uint32_t> wake_ = 0;
    std::thread thread_;
};

}  // namespace flexnpu
