// SPDX-License-Identifier: Apache-2.0
//
// One device's arbiter: keeps what vNPUs want, what they were granted and what their tenants still use, runs decide()
// and schedule() and writes the control pages. A call steps at once in the caller's thread; the arbiter's own thread
// sleeps on the bells of the tenants that matter, and without a timeout when nothing is pending.
// Lock order: mutex_ is the only lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "arbiter/deaths.h"
#include "arbiter/dispatch.h"
#include "arbiter/lending.h"
#include "arbiter/turns.h"
#include "arbiter/vnpu.h"

namespace flexnpu {

struct Change {
    VNpuId vnpu;
    Quota quota;
};

struct VNpuState {
    uint32_t desired_revision = 0, desired_cores = 0;
    // The newest revision that is granted, and that is applied by every live tenant too.
    uint32_t granted_revision = 0, applied_revision = 0;
    uint32_t grant_number = 0;
    uint32_t granted_cores = 0, granted_vector_cores = 0;  // lent ones included
    uint32_t lent_cores = 0;
    uint32_t held_cores = 0;
    uint32_t live_tenants = 0;
    int64_t applied_after_ns = 0;  // from the change to the moment the arbiter saw it applied
    uint32_t share = 0;            // of time, in 1/10,000; 0: not time-shared
    uint32_t effective_share = 0;  // what it has of it now: the dispatch by phase moves it
    uint64_t turns = 0;
    uint64_t used_ns = 0;  // device time charged
    bool demand = false;
    bool holds_turn = false;
};

class Arbiter {
  public:
    // vector_cores follow in proportion: a grant of n cube cores brings n * vector_cores / device_cores.
    Arbiter(uint32_t device_cores, uint32_t vector_cores, DispatchMode mode = DispatchMode::fair);
    ~Arbiter();
    Arbiter(const Arbiter&) = delete;
    Arbiter& operator=(const Arbiter&) = delete;

    // Throws std::invalid_argument for a known id.
    // `ordinal`: of this device within the vNPU.
    // `gang`: of a vNPU on several devices, the same for all of them.
    void add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
             std::shared_ptr<Gang> gang = nullptr);
    // The same for a vNPU of an earlier daemon: `older` are grants (revision, cores) that its tenants may still use,
    // `absent` the number of those tenants. They have applied nothing until they come back; returns their ids.
    std::vector<TenantId> restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
                                  const std::vector<std::pair<uint32_t, uint32_t>>& older, uint32_t absent,
                                  std::shared_ptr<Gang> gang = nullptr);
    // All changes are wanted at once, so that no growth runs ahead of the shrink it needs.
    void change(std::span<const Change> changes);
    // What its live tenants still use stays held until they are gone.
    void remove(VNpuId id);
    // `fresh`: the process cannot have work older than the grant it now finds. Not so one that comes back.
    TenantId attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh);
    void detach(VNpuId id, TenantId tenant);
    // The newest revision that this tenant has applied.
    uint32_t applied_revision(VNpuId id, TenantId tenant) const;

    // Whether event_fd() tells of each step that its tenants begin, too.
    void watch(VNpuId id, bool watched);

    VNpuState state(VNpuId id) const;
    uint32_t held_cores() const;  // over the device
    // Readable (an eventfd) after a grant was published or applied, or a step has begun that is watched; who reads it
    // asks state() or the reports again.
    int event_fd() const { return event_fd_; }

  private:
    struct Heard {
        VNpuId vnpu;
        TenantId tenant;
    };

    void run();
    // With mutex_ held: read reports, decide, publish, pass turns; the time until the next look, 0 for never.
    int64_t step(int64_t now_ns);
    bool refresh(VNpu& vnpu, int64_t now_ns);
    static bool has_begun_steps(VNpu& vnpu);
    bool carry_out(const Plan& plan, const std::vector<VNpu*>& order, int64_t now_ns);
    void take_turns(VNpu& vnpu, bool turns);
    std::vector<VNpu*> present();
    Wanted wanted(const Quota& quota) const;
    // Before a step: the bells, so that whoever rings after it is not slept over. After it: whom to sleep on.
    void hear(int64_t now_ns);
    int64_t listen(std::vector<FutexWord>& words, int64_t now_ns);
    void note_woken(int index, int64_t now_ns);
    void step_and_wake();
    void note_death(TenantId tenant);
    VNpu& find(VNpuId id);
    const VNpu& find(VNpuId id) const;

    const Cores device_;
    int event_fd_ = -1;
    mutable std::mutex mutex_;
    std::map<VNpuId, VNpu> vnpus_;
    TenantId next_tenant_ = 1;
    Lending lending_;
    Dispatch dispatch_;
    Turns turns_;
    // Of the thread: whom it sleeps on, in the order of the words, and what keeps these mapped.
    std::vector<Heard> heard_;
    std::vector<std::shared_ptr<ReportPage>> kept_;
    std::atomic<bool> stopping_ = false;
    const std::shared_ptr<WakeWord> wake_ = std::make_shared<WakeWord>(0);
    std::thread thread_;
    Deaths deaths_{[this](uint64_t tenant) { note_death(tenant); }};
};

}  // namespace flexnpu
