// SPDX-License-Identifier: Apache-2.0
#include "arbiter/arbitration.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace flexnpu {
namespace {

// One that is to leave the shared time has its last share until it does.
uint32_t own_share(const VNpu& vnpu) { return vnpu.quota.share != 0 ? vnpu.quota.share : vnpu.turn.share; }

}  // namespace

Arbitration::Arbitration(Cores device, DispatchMode mode, uint64_t newest_turn, std::shared_ptr<HailPage> hails)
    : device_(device), dispatch_(mode), turns_(newest_turn, std::move(hails)) {
    if (device.cube == 0 || device.cube > 0xffff || device.vector == 0 || device.vector > 0xffff) {
        throw std::invalid_argument("a device must have 1 to 65535 cube cores and as many vector cores");
    }
}

Wanted Arbitration::wanted(const Quota& quota) const {
    const auto part = static_cast<uint32_t>(uint64_t{quota.cores} * device_.vector / device_.cube);
    const uint32_t vector = quota.vector_cores != 0 ? quota.vector_cores : std::max(part, 1u);
    return {quota.revision, {quota.cores, vector}, std::max(quota.burst_cores, quota.cores), quota.share != 0};
}

std::vector<TenantId> Arbitration::restore(VNpuId id, VNpu added, const std::vector<OldGrant>& older, uint32_t absent,
                                           int64_t now_ns) {
    if (vnpus_.contains(id)) throw std::invalid_argument("this vNPU is already known to the arbiter");
    VNpu& vnpu = vnpus_[id] = std::move(added);
    vnpu.view.desired = wanted(vnpu.quota);
    vnpu.view.changed_ns = vnpu.wanted_ns = now_ns;
    for (const OldGrant& old : older) {
        const auto vector = static_cast<uint32_t>(uint64_t{old.cores} * device_.vector / device_.cube);
        vnpu.view.older.push_back({0, old.revision, {old.cores, vector}, {}, old.time_shared});
    }
    if (vnpu.quota.share != 0) take_turns(vnpu, true);
    std::vector<TenantId> tenants;
    for (uint32_t i = 0; i < absent; ++i) {
        vnpu.tenants[next_tenant_] = {};
        tenants.push_back(next_tenant_++);
    }
    return tenants;
}

void Arbitration::change(std::span<const Change> changes, int64_t now_ns) {
    for (const Change& change : changes) find(change.vnpu);  // all or nothing
    for (const Change& change : changes) {
        VNpu& vnpu = find(change.vnpu);
        vnpu.view.desired = wanted(change.quota);
        vnpu.view.changed_ns = vnpu.wanted_ns = now_ns;
        vnpu.quota = change.quota;
    }
}

void Arbitration::remove(VNpuId id) {
    VNpu& vnpu = find(id);
    const Grant& granted = vnpu.view.granted;
    vnpu.leaving = true;
    vnpu.view.desired = {granted.revision, granted.own, granted.own.cube, granted.time_shared};  // it takes no more
    vnpu.quota.burst_cores = vnpu.quota.cores;
}

TenantId Arbitration::attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh) {
    VNpu& vnpu = find(id);
    Tenant& added = vnpu.tenants[next_tenant_];
    added.page = std::move(page);
    added.pid = pid;
    added.base_grant = fresh ? vnpu.view.granted.number : 0;
    return next_tenant_++;
}

void Arbitration::detach(VNpuId id, TenantId tenant) {
    const auto found = vnpus_.find(id);
    if (found == vnpus_.end() || found->second.tenants.erase(tenant) == 0) return;
    found->second.deserted = found->second.turn.turn == Turn::open;
}

void Arbitration::watch(VNpuId id, bool watched) {
    VNpu& vnpu = find(id);
    vnpu.watched = watched;
    vnpu.page->set_watched(watched);
}

void Arbitration::note_death(TenantId tenant) {
    for (auto& [id, vnpu] : vnpus_) {
        const auto found = vnpu.tenants.find(tenant);
        if (found == vnpu.tenants.end()) continue;
        found->second.passed = found->second.gone = true;
    }
}

uint32_t Arbitration::applied_revision(VNpuId id, TenantId tenant) const {
    const VNpu& vnpu = find(id);
    const auto found = vnpu.tenants.find(tenant);
    if (found == vnpu.tenants.end()) return 0;
    VNpuView view = vnpu.view;
    view.applied = believed_grant(vnpu, found->second);
    return flexnpu::applied_revision(view);
}

VNpuState Arbitration::state(VNpuId id) const {
    const VNpu& vnpu = find(id);
    const VNpuView& view = vnpu.view;
    return {.desired_revision = view.desired.revision,
            .desired_cores = view.desired.own.cube,
            .granted_revision = view.granted.revision,
            .applied_revision = flexnpu::applied_revision(view),
            .grant_number = view.granted.number,
            .granted_cores = view.granted.all().cube,
            .granted_vector_cores = view.granted.all().vector,
            .lent_cores = view.granted.lent.cube,
            .held_cores = flexnpu::held_cores(view).cube,
            .live_tenants = view.live_tenants,
            .applied_after_ns = vnpu.applied_after_ns,
            .share = view.granted.time_shared ? own_share(vnpu) : 0,
            .effective_share = view.granted.time_shared ? vnpu.turn.share : 0,
            .turns = vnpu.turn.turns,
            .used_ns = vnpu.turn.used_ns,
            .demand = has_demand(vnpu.turn),
            .holds_turn = vnpu.turn.turn == Turn::open};
}

uint32_t Arbitration::held_cores() const {
    std::vector<VNpuView> views;
    for (const auto& [id, vnpu] : vnpus_) views.push_back(vnpu.view);
    return flexnpu::held_cores(views).cube;
}

std::vector<VNpu*> Arbitration::present() {
    std::erase_if(vnpus_, [](const auto& at) {
        const VNpu& vnpu = at.second;
        const bool gone = vnpu.leaving && vnpu.tenants.empty();
        if (gone) leave_gang(vnpu);
        return gone;
    });
    std::vector<VNpu*> order;
    for (auto& [id, vnpu] : vnpus_) order.push_back(&vnpu);
    return order;
}

Arbitration::Step Arbitration::step(int64_t now_ns) {
    const std::vector<VNpu*> order = present();
    for (VNpu* vnpu : order) note(*vnpu, refresh(*vnpu, now_ns) | has_begun_steps(*vnpu));
    int64_t look_ns = lending_.step(order, turns_, now_ns);
    Snapshot snapshot{.device = device_, .vnpus = {}};
    for (VNpu* vnpu : order) {
        vnpu->view.priority = vnpu->priority;
        snapshot.vnpus.push_back(vnpu->view);
    }
    const Plan plan = decide(snapshot, now_ns);
    carry_out(plan, order, now_ns);
    for (VNpu* vnpu : order) note(*vnpu, refresh(*vnpu, now_ns));
    look_ns = sooner(look_ns, plan.look_again_ns);
    dispatch_.step(order, now_ns);
    look_ns = sooner(look_ns, turns_.step(order, now_ns));
    return {look_ns, std::exchange(news_, false)};
}

void Arbitration::note(VNpu& vnpu, bool news) {
    vnpu.news |= news;
    news_ |= news;
}

std::vector<VNpuId> Arbitration::take_news() {
    std::vector<VNpuId> ids;
    for (auto& [id, vnpu] : vnpus_) {
        if (std::exchange(vnpu.news, false)) ids.push_back(id);
    }
    return ids;
}

// Brings the view up to date with the reports; whether a revision has become applied.
bool Arbitration::refresh(VNpu& vnpu, int64_t now_ns) {
    VNpuView& view = vnpu.view;
    view.live_tenants = static_cast<uint32_t>(vnpu.tenants.size());
    view.applied = view.granted.number;
    view.clear = view.applied;
    for (auto& [id, tenant] : vnpu.tenants) {
        view.clear = std::min(view.clear, believed_clear(vnpu, tenant, now_ns));
        view.applied = std::min(view.applied, tenant.applied);  // as it has just been read
    }
    std::erase_if(view.older, [&](const Grant& grant) {
        return view.live_tenants == 0 || (grant.number < view.applied && grant.number < view.clear);
    });
    if (!is_applied(view) || vnpu.done_revision == view.granted.revision) return false;
    vnpu.done_revision = view.granted.revision;
    vnpu.applied_after_ns = now_ns - vnpu.wanted_ns;
    return true;
}

bool Arbitration::has_begun_steps(VNpu& vnpu) {
    bool any = false;
    for (auto& [id, tenant] : vnpu.tenants) {
        if (!vnpu.watched || !tenant.page) continue;
        const uint64_t begun = tenant.page->begun_tellings();
        any |= std::exchange(tenant.begun, begun) != begun;
    }
    return any;
}

// Closed before the grant is published, so that nobody who applies it launches out of turn.
void Arbitration::take_turns(VNpu& vnpu, bool turns) {
    vnpu.view.granted.time_shared = turns;
    vnpu.view.idle = false;  // its new word does not ask it to ring
    vnpu.number = turns_.next_number();
    TurnView fresh;
    fresh.used_ns = vnpu.turn.used_ns;
    fresh.turns = vnpu.turn.turns;
    vnpu.turn = fresh;
    vnpu.busy_ns = busy_of(vnpu);
    vnpu.on_standby = false;
    if (std::exchange(vnpu.yields_to, 0) != 0) vnpu.page->set_yields_to(vnpu.ordinal, 0);
    write_turn(vnpu, turns ? flexnpu_pack_turn(vnpu.number, 0) : FLEXNPU_TURN_FREE);
    vnpu.in_flight_ns = 0;
    vnpu.page->set_in_flight(vnpu.ordinal, 0);
    turns ? join_gang(vnpu) : leave_gang(vnpu);
}

void Arbitration::carry_out(const Plan& plan, const std::vector<VNpu*>& order, int64_t now_ns) {
    for (const Plan::Step& step : plan.steps) {
        VNpu& vnpu = *order[step.vnpu];
        VNpuView& view = vnpu.view;
        view.older.push_back(view.granted);
        if (step.grant.time_shared != view.granted.time_shared) take_turns(vnpu, step.grant.time_shared);
        view.granted = step.grant;
        view.changed_ns = now_ns;
        note(vnpu, true);
    }
    for (VNpu* vnpu : order) {
        const Grant& granted = vnpu->view.granted;
        if (granted.number == 0 || (granted.number == vnpu->published && vnpu->quota.memory_bytes == vnpu->memory)) {
            continue;
        }
        // The memory limit waits for no cores: it may come with the old grant.
        vnpu->published = granted.number;
        vnpu->memory = vnpu->quota.memory_bytes;
        vnpu->page->publish(vnpu->ordinal, granted.number, granted.all().cube, granted.all().vector, vnpu->memory);
        note(*vnpu, true);
    }
}

VNpu& Arbitration::find(VNpuId id) {
    const auto found = vnpus_.find(id);
    if (found == vnpus_.end()) throw std::out_of_range("this vNPU is not known to the arbiter");
    return found->second;
}

const VNpu& Arbitration::find(VNpuId id) const { return const_cast<Arbitration*>(this)->find(id); }

}  // namespace flexnpu
