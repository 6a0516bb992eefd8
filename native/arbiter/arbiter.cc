// SPDX-License-Identifier: Apache-2.0
#include "arbiter/arbiter.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace flexnpu {
namespace {

int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// A tenant cannot have applied what was never granted to it, whatever its page says.
uint32_t believed(const ReportPage* page, uint32_t ordinal, uint32_t base_revision, uint32_t granted_revision) {
    if (!page) return 0;
    return std::min(std::max(page->applied_grant(ordinal), base_revision), granted_revision);
}

}  // namespace

Arbiter::Arbiter(uint32_t device_cores, uint32_t vector_cores)
    : device_cores_(device_cores), vector_cores_(vector_cores) {
    if (device_cores == 0 || device_cores > 0xffff || vector_cores == 0 || vector_cores > 0xffff) {
        throw std::invalid_argument("a device must have 1 to 65535 cube cores and as many vector cores");
    }
    event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    thread_ = std::thread([this] { run(); });
}

Arbiter::~Arbiter() {
    stopping_ = true;
    ++wake_;
    futex_wake_shared(reinterpret_cast<const uint32_t*>(&wake_));
    thread_.join();
    close(event_fd_);
}

void Arbiter::add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota) {
    restore(id, std::move(page), ordinal, quota, {}, 0);
}

std::vector<TenantId> Arbiter::restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal,
                                       const Quota& quota, std::vector<Grant> older, uint32_t absent) {
    std::vector<TenantId> tenants;
    {
        std::lock_guard lock(mutex_);
        if (vnpus_.contains(id)) throw std::invalid_argument("this vNPU is already known to the arbiter");
        VNpu& vnpu = vnpus_[id];
        vnpu.page = std::move(page);
        vnpu.ordinal = ordinal;
        vnpu.view.desired = {quota.revision, quota.cores};
        vnpu.view.older = std::move(older);
        vnpu.view.changed_ns = monotonic_ns();
        vnpu.quota = quota;
        for (uint32_t i = 0; i < absent; ++i) {
            vnpu.tenants[next_tenant_] = {nullptr, 0, 0};
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
            vnpu.view.desired = {change.quota.revision, change.quota.cores};
            vnpu.view.changed_ns = monotonic_ns();
            vnpu.quota = change.quota;
        }
    }
    step_and_wake();
}

void Arbiter::remove(VNpuId id) {
    {
        std::lock_guard lock(mutex_);
        VNpu& vnpu = find(id);
        vnpu.leaving = true;
        vnpu.view.desired = vnpu.view.granted;  // it takes no more
    }
    step_and_wake();
}

TenantId Arbiter::attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh) {
    TenantId tenant = 0;
    {
        std::lock_guard lock(mutex_);
        VNpu& vnpu = find(id);
        tenant = next_tenant_++;
        vnpu.tenants[tenant] = {std::move(page), pid, fresh ? vnpu.view.granted.revision : 0};
    }
    step_and_wake();
    return tenant;
}

void Arbiter::detach(VNpuId id, TenantId tenant) {
    {
        std::lock_guard lock(mutex_);
        const auto found = vnpus_.find(id);
        if (found != vnpus_.end()) found->second.tenants.erase(tenant);
    }
    step_and_wake();
}

VNpuState Arbiter::state(VNpuId id) const {
    std::lock_guard lock(mutex_);
    const VNpu& vnpu = find(id);
    return {.desired = vnpu.view.desired,
            .granted = vnpu.view.granted,
            .held_cores = flexnpu::held_cores(vnpu.view),
            .live_tenants = vnpu.view.live_tenants,
            .applied_revision = vnpu.done.revision,
            .applied_after_ns = vnpu.applied_after_ns};
}

uint32_t Arbiter::held_cores() const {
    std::lock_guard lock(mutex_);
    uint32_t sum = 0;
    for (const auto& [id, vnpu] : vnpus_) sum += flexnpu::held_cores(vnpu.view);
    return sum;
}

void Arbiter::run() {
    std::vector<FutexWord> words;
    std::vector<std::shared_ptr<ReportPage>> watched;  // keeps the words mapped while they are waited for
    while (!stopping_) {
        const uint32_t wake = wake_;
        words.assign(1, {reinterpret_cast<const uint32_t*>(&wake_), wake});
        watched.clear();
        int64_t look_again_ns = 0;
        {
            std::lock_guard lock(mutex_);
            look_again_ns = step();
            for (const auto& [id, vnpu] : vnpus_) {
                for (const auto& [tenant_id, tenant] : vnpu.tenants) {
                    if (!tenant.page) continue;
                    // The bell first: whoever rings after this look is not slept over.
                    const FutexWord bell{tenant.page->bell(vnpu.ordinal), tenant.page->bell_count(vnpu.ordinal)};
                    const uint32_t applied = believed(tenant.page.get(), vnpu.ordinal, tenant.base_revision, ~0u);
                    if (applied >= vnpu.view.granted.revision) continue;
                    words.push_back(bell);
                    watched.push_back(tenant.page);
                }
            }
        }
        futex_wait_any(words, look_again_ns);
    }
}

int64_t Arbiter::step() {
    const int64_t now_ns = monotonic_ns();
    bool news = false;
    Snapshot snapshot{.device_cores = device_cores_, .vnpus = {}};
    std::vector<VNpu*> order;
    for (auto at = vnpus_.begin(); at != vnpus_.end();) {
        news |= refresh(at->second, now_ns);
        if (at->second.leaving && at->second.tenants.empty()) {
            at = vnpus_.erase(at);
            continue;
        }
        snapshot.vnpus.push_back(at->second.view);
        order.push_back(&at->second);
        ++at;
    }
    const Plan plan = decide(snapshot, now_ns);
    news |= carry_out(plan, order);
    for (VNpu* vnpu : order) news |= refresh(*vnpu, now_ns);
    if (news) eventfd_write(event_fd_, 1);
    return plan.look_again_ns;
}

// Brings the view up to date with the reports; whether a grant has become applied.
bool Arbiter::refresh(VNpu& vnpu, int64_t now_ns) {
    VNpuView& view = vnpu.view;
    view.live_tenants = static_cast<uint32_t>(vnpu.tenants.size());
    view.applied_revision = view.granted.revision;
    for (const auto& [id, tenant] : vnpu.tenants) {
        const uint32_t applied = believed(tenant.page.get(), vnpu.ordinal, tenant.base_revision, view.granted.revision);
        view.applied_revision = std::min(view.applied_revision, applied);
    }
    std::erase_if(view.older,
                  [&](const Grant& grant) { return view.live_tenants == 0 || grant.revision < view.applied_revision; });
    if (!is_applied(view) || vnpu.done == view.granted) return false;
    vnpu.done = view.granted;
    vnpu.applied_after_ns = now_ns - view.changed_ns;
    return true;
}

bool Arbiter::carry_out(const Plan& plan, const std::vector<VNpu*>& order) {
    for (const Plan::Step& step : plan.steps) {
        VNpu& vnpu = *order[step.vnpu];
        vnpu.view.older.push_back(vnpu.view.granted);
        vnpu.view.granted = step.grant;
        const auto vector = static_cast<uint32_t>(uint64_t{step.grant.cores} * vector_cores_ / device_cores_);
        vnpu.page->publish(vnpu.ordinal, step.grant.revision, step.grant.cores, std::max(vector, 1u),
                           vnpu.quota.memory_bytes);
    }
    return !plan.steps.empty();
}

void Arbiter::step_and_wake() {
    {
        std::lock_guard lock(mutex_);
        step();
    }
    ++wake_;
    futex_wake_shared(reinterpret_cast<const uint32_t*>(&wake_));
}

Arbiter::VNpu& Arbiter::find(VNpuId id) {
    const auto found = vnpus_.find(id);
    if (found == vnpus_.end()) throw std::out_of_range("this vNPU is not known to the arbiter");
    return found->second;
}

const Arbiter::VNpu& Arbiter::find(VNpuId id) const { return const_cast<Arbiter*>(this)->find(id); }

}  // namespace flexnpu
