// SPDX-License-Identifier: Apache-2.0
#include "arbiter/dispatch.h"

#include <algorithm>
#include <utility>

namespace flexnpu {
namespace {

constexpr int64_t kWindowNs = 100'000'000;

// Of a tenant, since it was last looked at.
struct Progress {
    uint64_t waited_ns = 0;
    StepCounts steps;
};

uint64_t rise(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

// What a tenant counted before it was first seen here is not of this window.
Progress progress(const VNpu& vnpu, Tenant& tenant) {
    if (!tenant.page) return {};
    const TenantCounts now{true, tenant.page->waited_ns(vnpu.ordinal), tenant.page->steps()};
    const TenantCounts before = std::exchange(tenant.counted, now);
    if (!before.known) return {};
    return {rise(before.waited_ns, now.waited_ns),
            {rise(before.steps.prefill, now.steps.prefill), rise(before.steps.decode, now.steps.decode),
             rise(before.steps.mixed, now.steps.mixed)}};
}

// What three quarters of the steps were; an engine that mixes them, or alternates, has no phase.
uint32_t detected(uint32_t before, const StepCounts& steps) {
    const uint64_t all = steps.prefill + steps.decode + steps.mixed;
    if (all == 0) return before;
    if (steps.prefill * 4 >= all * 3) return FLEXNPU_PHASE_PREFILL;
    return steps.decode * 4 >= all * 3 ? FLEXNPU_PHASE_DECODE : FLEXNPU_PHASE_IDLE;
}

bool is_declared(const Quota& quota) {
    return quota.phase == FLEXNPU_PHASE_PREFILL || quota.phase == FLEXNPU_PHASE_DECODE;
}

// A fixed share stays what it is.
bool takes_part(const VNpu& vnpu) {
    return vnpu.view.granted.time_shared && vnpu.quota.share != 0 && !vnpu.quota.fixed && !vnpu.leaving &&
           !vnpu.tenants.empty();
}

void add(PhaseUse& use, const Progress& progress) {
    use.waited_ns += static_cast<int64_t>(progress.waited_ns);
    use.steps += progress.steps.prefill + progress.steps.decode + progress.steps.mixed;
}

// One vNPU's part of its window; its phase is then what this window showed.
PhaseUse account(VNpu& vnpu) {
    PhaseUse use;
    StepCounts steps;
    for (auto& [id, tenant] : vnpu.tenants) {
        const Progress each = progress(vnpu, tenant);
        add(use, each);
        steps.prefill += each.steps.prefill;
        steps.decode += each.steps.decode;
        steps.mixed += each.steps.mixed;
    }
    use.used_ns = static_cast<int64_t>(rise(std::exchange(vnpu.used_seen_ns, vnpu.turn.used_ns), vnpu.turn.used_ns));
    vnpu.detected_phase = detected(vnpu.detected_phase, steps);
    return use;
}

void add(PhaseUse& sum, const PhaseUse& use) {
    sum.waited_ns += use.waited_ns;
    sum.used_ns += use.used_ns;
    sum.steps += use.steps;
}

uint32_t part_of(uint32_t share, uint32_t own, uint32_t given) {
    return std::max(static_cast<uint32_t>(uint64_t{share} * given / own), 1u);
}

}  // namespace

Dispatch::Own Dispatch::own(const std::vector<VNpu*>& vnpus) {
    Own own;
    for (const VNpu* vnpu : vnpus) {
        if (!takes_part(*vnpu)) continue;
        if (vnpu->phase == FLEXNPU_PHASE_PREFILL) own.prefill += vnpu->quota.share;
        if (vnpu->phase == FLEXNPU_PHASE_DECODE) own.decode += vnpu->quota.share;
    }
    return own;
}

void Dispatch::look(const std::vector<VNpu*>& vnpus, int64_t now_ns) {
    if (now_ns - looked_ns_ < kWindowNs) return;
    looked_ns_ = now_ns;
    PhaseWindow window;
    for (VNpu* vnpu : vnpus) {
        const PhaseUse use = account(*vnpu);
        if (!takes_part(*vnpu)) continue;
        if (vnpu->phase == FLEXNPU_PHASE_PREFILL) add(window.prefill, use);
        if (vnpu->phase == FLEXNPU_PHASE_DECODE) add(window.decode, use);
    }
    if (own_.both()) shares_ = divide(shares_, window);
}

// From the shares that were set; what anybody waited for under others does not count.
void Dispatch::begin_anew(const std::vector<VNpu*>& vnpus, const Own& own, int64_t now_ns) {
    const auto decode = static_cast<uint32_t>(uint64_t{10'000} * own.decode / (own.prefill + own.decode));
    shares_ = {std::clamp(decode, kLeastPhaseShare, 10'000 - kLeastPhaseShare), 0};
    for (VNpu* vnpu : vnpus) account(*vnpu);
    looked_ns_ = now_ns;
}

void Dispatch::step(const std::vector<VNpu*>& vnpus, int64_t now_ns) {
    if (mode_ == DispatchMode::phase) look(vnpus, now_ns);
    for (VNpu* vnpu : vnpus) {
        vnpu->phase = is_declared(vnpu->quota) ? vnpu->quota.phase : vnpu->detected_phase;
        vnpu->priority = 2 * vnpu->quota.priority;
        if (vnpu->quota.share != 0) vnpu->share = vnpu->quota.share;
    }
    if (mode_ == DispatchMode::fair) return;
    const Own now = own(vnpus);
    if (now != own_ && now.both()) begin_anew(vnpus, now, now_ns);
    own_ = now;
    if (!now.both()) return;
    const uint32_t all = now.prefill + now.decode;
    const uint32_t decode = all * shares_.decode / 10'000;
    for (VNpu* vnpu : vnpus) {
        const bool decodes = vnpu->phase == FLEXNPU_PHASE_DECODE;
        // Among those of one priority decode goes first.
        vnpu->priority += decodes ? 1 : 0;
        if (!takes_part(*vnpu) || vnpu->phase == FLEXNPU_PHASE_IDLE) continue;
        vnpu->share = decodes ? part_of(vnpu->quota.share, now.decode, decode)
                              : part_of(vnpu->quota.share, now.prefill, all - decode);
    }
}

}  // namespace flexnpu
