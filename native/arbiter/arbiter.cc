// SPDX-License-Identifier: Apache-2.0
#include "arbiter/arbiter.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <stdexcept>
#include <system_error>

namespace flexnpu {
namespace {

// More bells than the kernel waits for at once are looked at in between.
constexpr int64_t kManyBellsNs = 1'000'000;

int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// Turns of this daemon come after all of an earlier one, whose numbers returning tenants still have in their reports:
// a turn takes longer than a microsecond.
uint64_t first_turn() { return static_cast<uint64_t>(monotonic_ns() / 1000); }

// What of a report makes a difference here, in one number.
uint64_t digest(const VNpu& vnpu, const Tenant& tenant) {
    uint64_t hash = tenant.page->applied_grant(vnpu.ordinal);
    for (const uint64_t each : {tenant.page->turn_entered(vnpu.ordinal), tenant.page->turn_drained(vnpu.ordinal),
                                uint64_t{tenant.page->waiting(vnpu.ordinal)}}) {
        hash = (hash ^ each) * 0x9e3779b97f4a7c15u;
    }
    return vnpu.watched ? (hash ^ tenant.page->begun_tellings()) * 0x9e3779b97f4a7c15u : hash;
}

// Whether something depends on what this tenant will say.
bool matters(const VNpu& vnpu, const Tenant& tenant) {
    if (!tenant.page) return false;
    return vnpu.watched || vnpu.view.granted.time_shared || vnpu.view.idle ||
           believed_grant(vnpu, tenant) < vnpu.view.granted.number;
}

// One that is to leave the shared time has its last share until it does.
uint32_t own_share(const VNpu& vnpu) { return vnpu.quota.share != 0 ? vnpu.quota.share : vnpu.turn.share; }

}  // namespace

Arbiter::Arbiter(uint32_t device_cores, uint32_t vector_cores, DispatchMode mode)
    : device_{device_cores, vector_cores}, dispatch_(mode), turns_(first_turn()) {
    if (device_cores == 0 || device_cores > 0xffff || vector_cores == 0 || vector_cores > 0xffff) {
        throw std::invalid_argument("a device must have 1 to 65535 cube cores and as many vector cores");
    }
    event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    thread_ = std::thread([this] { run(); });
}

Arbiter::~Arbiter() {
    deaths_.stop();
    stopping_ = true;
    wake_up(*wake_);
    thread_.join();
    close(event_fd_);
}

Wanted Arbiter::wanted(const Quota& quota) const {
    const auto part = static_cast<uint32_t>(uint64_t{quota.cores} * device_.vector / device_.cube);
    const uint32_t vector = quota.vector_cores != 0 ? quota.vector_cores : std::max(part, 1u);
    return {quota.revision, {quota.cores, vector}, std::max(quota.burst_cores, quota.cores), quota.share != 0};
}

void Arbiter::add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
                  std::shared_ptr<Gang> gang) {
    restore(id, std::move(page), ordinal, quota, {}, 0, std::move(gang));
}

std::vector<TenantId> Arbiter::restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal,
                                       const Quota& quota, const std::vector<std::pair<uint32_t, uint32_t>>& older,
                                       uint32_t absent, std::shared_ptr<Gang> gang) {
    if (gang) gang->join(wake_);
    std::vector<TenantId> tenants;
    {
        std::lock_guard lock(mutex_);
        if (vnpus_.contains(id)) throw std::invalid_argument("this vNPU is already known to the arbiter");
        VNpu& vnpu = vnpus_[id];
        vnpu.page = std::move(page);
        vnpu.ordinal = ordinal;
        vnpu.gang = std::move(gang);
        vnpu.quota = quota;
        vnpu.view.desired = wanted(quota);
        vnpu.view.changed_ns = vnpu.wanted_ns = monotonic_ns();
        for (const auto& [revision, cores] : older) {
            const auto vector = static_cast<uint32_t>(uint64_t{cores} * device_.vector / device_.cube);
            vnpu.view.older.push_back({0, revision, {cores, vector}, {}, quota.share != 0});
        }
        if (quota.share != 0) take_turns(vnpu, true);
        for (uint32_t i = 0; i < absent; ++i) {
            vnpu.tenants[next_tenant_] = {};
            tenants.push_back(next_tenant_++);
        }
    }
    step_and_wake();
    return tenants;
}

void Arbiter::change(std::span<const Change> changes) {
    {
        std::lock_guard lock(mutex_);
        for (const Change& change : changes) find(change.vnpu);  // all or nothing
        for (const Change& change : changes) {
            VNpu& vnpu = find(change.vnpu);
            vnpu.view.desired = wanted(change.quota);
            vnpu.view.changed_ns = vnpu.wanted_ns = monotonic_ns();
            vnpu.quota = change.quota;
        }
    }
    step_and_wake();
}

void Arbiter::remove(VNpuId id) {
    {
        std::lock_guard lock(mutex_);
        VNpu& vnpu = find(id);
        const Grant& granted = vnpu.view.granted;
        vnpu.leaving = true;
        vnpu.view.desired = {granted.revision, granted.own, granted.own.cube, granted.time_shared};  // it takes no more
        vnpu.quota.burst_cores = vnpu.quota.cores;
    }
    step_and_wake();
}

TenantId Arbiter::attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh) {
    TenantId tenant = 0;
    {
        std::lock_guard lock(mutex_);
        VNpu& vnpu = find(id);
        tenant = next_tenant_++;
        Tenant& added = vnpu.tenants[tenant];
        added.page = std::move(page);
        added.pid = pid;
        added.base_grant = fresh ? vnpu.view.granted.number : 0;
    }
    deaths_.watch(tenant, pid);
    step_and_wake();
    return tenant;
}

void Arbiter::detach(VNpuId id, TenantId tenant) {
    deaths_.forget(tenant);
    {
        std::lock_guard lock(mutex_);
        const auto found = vnpus_.find(id);
        if (found != vnpus_.end()) found->second.tenants.erase(tenant);
    }
    step_and_wake();
}

uint32_t Arbiter::applied_revision(VNpuId id, TenantId tenant) const {
    std::lock_guard lock(mutex_);
    const VNpu& vnpu = find(id);
    const auto found = vnpu.tenants.find(tenant);
    if (found == vnpu.tenants.end()) return 0;
    VNpuView view = vnpu.view;
    view.applied = believed_grant(vnpu, found->second);
    return flexnpu::applied_revision(view);
}

void Arbiter::watch(VNpuId id, bool watched) {
    {
        std::lock_guard lock(mutex_);
        VNpu& vnpu = find(id);
        vnpu.watched = watched;
        vnpu.page->set_watched(watched);
    }
    step_and_wake();
}

VNpuState Arbiter::state(VNpuId id) const {
    std::lock_guard lock(mutex_);
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

uint32_t Arbiter::held_cores() const {
    std::lock_guard lock(mutex_);
    std::vector<VNpuView> views;
    for (const auto& [id, vnpu] : vnpus_) views.push_back(vnpu.view);
    return flexnpu::held_cores(views).cube;
}

void Arbiter::run() {
    // A turn ends when it ends, not when the kernel next feels like waking somebody (50 us by default).
    prctl(PR_SET_TIMERSLACK, 1);
    std::vector<FutexWord> words;
    int woken = -1;
    for (;;) {
        words.assign(1, {reinterpret_cast<const uint32_t*>(wake_.get()), *wake_});
        if (stopping_) return;  // looked at after the word, so that the wake-up that comes with it is not slept over
        int64_t look_again_ns = 0;
        {
            std::lock_guard lock(mutex_);
            const int64_t now_ns = monotonic_ns();
            note_woken(woken, now_ns);
            hear(now_ns);
            look_again_ns = step(now_ns);
            look_again_ns = sooner(look_again_ns, listen(words, now_ns));
        }
        woken = futex_wait_any(words, look_again_ns);
    }
}

void Arbiter::hear(int64_t now_ns) {
    for (auto& [id, vnpu] : vnpus_) {
        for (auto& [tenant_id, tenant] : vnpu.tenants) {
            if (!tenant.page) continue;
            const uint32_t count = tenant.page->bell_count(vnpu.ordinal);
            const uint64_t seen = std::exchange(tenant.digest, digest(vnpu, tenant));
            tenant.news = seen != tenant.digest;
            tenant.bell.hear(count, tenant.news, now_ns);
        }
    }
}

int64_t Arbiter::listen(std::vector<FutexWord>& words, int64_t now_ns) {
    heard_.clear();
    kept_.clear();
    int64_t look_ns = 0;
    for (const auto& [id, vnpu] : vnpus_) {
        for (const auto& [tenant_id, tenant] : vnpu.tenants) {
            if (!matters(vnpu, tenant)) continue;
            const int64_t muted_ns = tenant.bell.muted_until_ns() - now_ns;
            if (muted_ns > 0) {
                look_ns = sooner(look_ns, muted_ns);
                continue;
            }
            words.push_back({tenant.page->bell(vnpu.ordinal), tenant.bell.count()});
            heard_.push_back({id, tenant_id});
            kept_.push_back(tenant.page);
        }
    }
    return words.size() > kMostFutexWords ? sooner(look_ns, kManyBellsNs) : look_ns;
}

// Waking a word without raising it is ringing, too.
void Arbiter::note_woken(int index, int64_t now_ns) {
    if (index < 1 || static_cast<size_t>(index) > heard_.size()) return;
    const Heard& heard = heard_[static_cast<size_t>(index) - 1];
    const auto vnpu = vnpus_.find(heard.vnpu);
    if (vnpu == vnpus_.end()) return;
    const auto tenant = vnpu->second.tenants.find(heard.tenant);
    if (tenant != vnpu->second.tenants.end()) tenant->second.bell.woke(now_ns);
}

std::vector<VNpu*> Arbiter::present() {
    std::erase_if(vnpus_, [](const auto& at) {
        const VNpu& vnpu = at.second;
        const bool gone = vnpu.leaving && vnpu.tenants.empty();
        if (gone && vnpu.gang) leave_gang(vnpu);
        return gone;
    });
    std::vector<VNpu*> order;
    for (auto& [id, vnpu] : vnpus_) order.push_back(&vnpu);
    return order;
}

int64_t Arbiter::step(int64_t now_ns) {
    bool news = false;
    const std::vector<VNpu*> order = present();
    for (VNpu* vnpu : order) news |= refresh(*vnpu, now_ns) | has_begun_steps(*vnpu);
    int64_t look_ns = lending_.step(order, turns_, now_ns);
    Snapshot snapshot{.device = device_, .vnpus = {}};
    for (const VNpu* vnpu : order) snapshot.vnpus.push_back(vnpu->view);
    const Plan plan = decide(snapshot, now_ns);
    news |= carry_out(plan, order, now_ns);
    for (VNpu* vnpu : order) news |= refresh(*vnpu, now_ns);
    look_ns = sooner(look_ns, plan.look_again_ns);
    dispatch_.step(order, now_ns);
    look_ns = sooner(look_ns, turns_.step(order, now_ns));
    if (news) eventfd_write(event_fd_, 1);
    return look_ns;
}

// Brings the view up to date with the reports; whether a revision has become applied.
bool Arbiter::refresh(VNpu& vnpu, int64_t now_ns) {
    VNpuView& view = vnpu.view;
    view.live_tenants = static_cast<uint32_t>(vnpu.tenants.size());
    view.applied = view.granted.number;
    for (const auto& [id, tenant] : vnpu.tenants) view.applied = std::min(view.applied, believed_grant(vnpu, tenant));
    std::erase_if(view.older,
                  [&](const Grant& grant) { return view.live_tenants == 0 || grant.number < view.applied; });
    if (!is_applied(view) || vnpu.done_revision == view.granted.revision) return false;
    vnpu.done_revision = view.granted.revision;
    vnpu.applied_after_ns = now_ns - vnpu.wanted_ns;
    return true;
}

bool Arbiter::has_begun_steps(VNpu& vnpu) {
    bool any = false;
    for (auto& [id, tenant] : vnpu.tenants) {
        if (!vnpu.watched || !tenant.page) continue;
        const uint64_t begun = tenant.page->begun_tellings();
        any |= std::exchange(tenant.begun, begun) != begun;
    }
    return any;
}

// Closed before the grant is published, so that nobody who applies it launches out of turn.
void Arbiter::take_turns(VNpu& vnpu, bool turns) {
    vnpu.view.granted.time_shared = turns;
    vnpu.number = turns_.next_number();
    vnpu.turn = {};
    write_turn(vnpu, turns ? flexnpu_pack_turn(vnpu.number, 0) : FLEXNPU_TURN_FREE);
    vnpu.in_flight_ns = 0;
    vnpu.page->set_in_flight(vnpu.ordinal, 0);
    if (vnpu.gang) leave_gang(vnpu);
}

bool Arbiter::carry_out(const Plan& plan, const std::vector<VNpu*>& order, int64_t now_ns) {
    for (const Plan::Step& step : plan.steps) {
        VNpu& vnpu = *order[step.vnpu];
        VNpuView& view = vnpu.view;
        view.older.push_back(view.granted);
        if (step.grant.time_shared != view.granted.time_shared) take_turns(vnpu, step.grant.time_shared);
        view.granted = step.grant;
        view.changed_ns = now_ns;
    }
    bool published = !plan.steps.empty();
    for (VNpu* vnpu : order) {
        const Grant& granted = vnpu->view.granted;
        if (granted.number == 0 || (granted.number == vnpu->published && vnpu->quota.memory_bytes == vnpu->memory)) {
            continue;
        }
        // The memory limit waits for no cores: it may come with the old grant.
        vnpu->published = granted.number;
        vnpu->memory = vnpu->quota.memory_bytes;
        vnpu->page->publish(vnpu->ordinal, granted.number, granted.all().cube, granted.all().vector, vnpu->memory);
        published = true;
    }
    return published;
}

void Arbiter::step_and_wake() {
    {
        std::lock_guard lock(mutex_);
        step(monotonic_ns());
    }
    wake_up(*wake_);
}

// The daemon detaches it when it hears of it, which may be later.
void Arbiter::note_death(TenantId tenant) {
    {
        std::lock_guard lock(mutex_);
        for (auto& [id, vnpu] : vnpus_) {
            const auto found = vnpu.tenants.find(tenant);
            if (found == vnpu.tenants.end()) continue;
            found->second.passed = found->second.gone = true;
        }
    }
    step_and_wake();
}

VNpu& Arbiter::find(VNpuId id) {
    const auto found = vnpus_.find(id);
    if (found == vnpus_.end()) throw std::out_of_range("this vNPU is not known to the arbiter");
    return found->second;
}

const VNpu& Arbiter::find(VNpuId id) const { return const_cast<Arbiter*>(this)->find(id); }

}  // namespace flexnpu
