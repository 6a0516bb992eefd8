// SPDX-License-Identifier: Apache-2.0
//
// One device's arbiter, live: an Arbitration under a lock and by the clock. A call steps at once in the caller's
// thread; the arbiter's own thread sleeps on the bells of the tenants that matter, and without a timeout when nothing
// is pending. Lock order: mutex_ is the only lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "arbiter/arbitration.h"
#include "arbiter/deaths.h"
#include "arbiter/futex.h"

namespace flexnpu {

class Arbiter {
  public:
    // vector_cores follow in proportion: a grant of n cube cores brings n * vector_cores / device_cores.
    // hails: of all devices; without it nobody may hail.
    Arbiter(uint32_t device_cores, uint32_t vector_cores, DispatchMode mode = DispatchMode::fair,
            std::shared_ptr<HailPage> hails = nullptr);
    ~Arbiter();
    Arbiter(const Arbiter&) = delete;
    Arbiter& operator=(const Arbiter&) = delete;

    // Throws std::invalid_argument for a known id.
    // `ordinal`: of this device within the vNPU.
    // `gang`: of a vNPU on several devices, the same for all of them.
    void add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
             std::shared_ptr<Gang> gang = nullptr);
    // The same for a vNPU of an earlier daemon: `older` are grants that its tenants may still use, `absent` the number
    // of those tenants. They have applied nothing until they come back; returns their ids.
    std::vector<TenantId> restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
                                  const std::vector<OldGrant>& older, uint32_t absent,
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
    // takes the news, and asks for the state or the reports of these.
    int event_fd() const { return event_fd_; }
    // The vNPUs that something happened to since the last call; some may be gone.
    std::vector<VNpuId> take_news();

  private:
    struct Heard {
        VNpuId vnpu;
        TenantId tenant;
    };

    void run();
    // With mutex_ held.
    int64_t step(int64_t now_ns);
    // Before a step: the bells, so that whoever rings after it is not slept over. After it: whom to sleep on.
    void hear(int64_t now_ns);
    int64_t listen(std::vector<FutexWord>& words, int64_t now_ns);
    void note_woken(int index, int64_t now_ns);
    void step_and_wake();
    void note_death(TenantId tenant);

    int event_fd_ = -1;
    mutable std::mutex mutex_;
    Arbitration arbitration_;
    // Of the thread: whom it sleeps on, in the order of the words, and what keeps these mapped.
    std::vector<Heard> heard_;
    std::vector<std::shared_ptr<ReportPage>> kept_;
    std::atomic<bool> stopping_ = false;
    const std::shared_ptr<WakeWord> wake_ = std::make_shared<WakeWord>(0);
    std::thread thread_;
    Deaths deaths_{[this](uint64_t tenant) { note_death(tenant); }};
};

}  // namespace flexnpu
