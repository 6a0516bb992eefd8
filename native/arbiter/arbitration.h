// SPDX-License-Identifier: Apache-2.0
//
// One device's vNPUs and tenants, and one step of its arbiter: reports are read, cores decided, turns passed, control
// pages written. No thread, lock or clock: whoever calls says what time it is, so that a test plays seconds at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

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

// A grant that tenants of an earlier daemon may still use.
struct OldGrant {
    uint32_t revision, cores;
    bool time_shared;
};

class Arbitration {
  public:
    // Turns are numbered on from `newest_turn`. Without a page for hails there are none.
    Arbitration(Cores device, DispatchMode mode, uint64_t newest_turn, std::shared_ptr<HailPage> hails = nullptr);

    // As Arbiter has them; none of these steps.
    std::vector<TenantId> restore(VNpuId id, VNpu vnpu, const std::vector<OldGrant>& older, uint32_t absent,
                                  int64_t now_ns);
    void change(std::span<const Change> changes, int64_t now_ns);
    void remove(VNpuId id);
    TenantId attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh);
    void detach(VNpuId id, TenantId tenant);
    void watch(VNpuId id, bool watched);
    // The daemon detaches it when it hears of it, which may be later.
    void note_death(TenantId tenant);
    uint32_t applied_revision(VNpuId id, TenantId tenant) const;
    VNpuState state(VNpuId id) const;
    uint32_t held_cores() const;

    struct Step {
        int64_t look_again_ns = 0;  // from now; 0: nothing is pending
        bool news = false;          // a grant was published or applied, or a step has begun that is watched
    };
    Step step(int64_t now_ns);
    // Those that a step had news of since they were last taken.
    std::vector<VNpuId> take_news();

    std::map<VNpuId, VNpu>& vnpus() { return vnpus_; }

  private:
    Wanted wanted(const Quota& quota) const;
    std::vector<VNpu*> present();
    static bool refresh(VNpu& vnpu, int64_t now_ns);
    static bool has_begun_steps(VNpu& vnpu);
    void carry_out(const Plan& plan, const std::vector<VNpu*>& order, int64_t now_ns);
    void note(VNpu& vnpu, bool news);
    void take_turns(VNpu& vnpu, bool turns);
    VNpu& find(VNpuId id);
    const VNpu& find(VNpuId id) const;

    const Cores device_;
    std::map<VNpuId, VNpu> vnpus_;
    TenantId next_tenant_ = 1;
    bool news_ = false;  // in this step
    Lending lending_;
    Dispatch dispatch_;
    Turns turns_;
};

}  // namespace flexnpu
