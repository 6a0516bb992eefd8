// SPDX-License-Identifier: Apache-2.0
#include "arbiter/arbiter.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <map>
#include <system_error>
#include <utility>

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
    for (const uint64_t each :
         {tenant.page->turn_entered(vnpu.ordinal), tenant.page->turn_drained(vnpu.ordinal),
          uint64_t{tenant.page->waiting(vnpu.ordinal)}, uint64_t{tenant.page->cleared_grant(vnpu.ordinal)}}) {
        hash = (hash ^ each) * 0x9e3779b97f4a7c15u;
    }
    return vnpu.watched ? (hash ^ tenant.page->begun_tellings()) * 0x9e3779b97f4a7c15u : hash;
}

// Whether something depends on what this tenant will say.
bool matters(const VNpu& vnpu, const Tenant& tenant) {
    if (!tenant.page) return false;
    return vnpu.watched || vnpu.view.granted.time_shared || vnpu.view.idle ||
           believed_grant(vnpu, tenant) < vnpu.view.granted.number || vnpu.view.clear < vnpu.view.granted.number;
}

}  // namespace

Arbiter::Arbiter(uint32_t device_cores, uint32_t vector_cores, DispatchMode mode, std::shared_ptr<HailPage> hails)
    : arbitration_({device_cores, vector_cores}, mode, first_turn(), std::move(hails)) {
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

void Arbiter::add(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal, const Quota& quota,
                  std::shared_ptr<Gang> gang) {
    restore(id, std::move(page), ordinal, quota, {}, 0, std::move(gang));
}

std::vector<TenantId> Arbiter::restore(VNpuId id, std::shared_ptr<ControlPage> page, uint32_t ordinal,
                                       const Quota& quota, const std::vector<OldGrant>& older, uint32_t absent,
                                       std::shared_ptr<Gang> gang) {
    if (gang) gang->join(wake_);
    VNpu vnpu;
    vnpu.page = std::move(page);
    vnpu.ordinal = ordinal;
    vnpu.gang = std::move(gang);
    vnpu.quota = quota;
    std::vector<TenantId> tenants;
    {
        std::lock_guard lock(mutex_);
        tenants = arbitration_.restore(id, std::move(vnpu), older, absent, monotonic_ns());
    }
    step_and_wake();
    return tenants;
}

void Arbiter::change(std::span<const Change> changes) {
    {
        std::lock_guard lock(mutex_);
        arbitration_.change(changes, monotonic_ns());
    }
    step_and_wake();
}

void Arbiter::remove(VNpuId id) {
    {
        std::lock_guard lock(mutex_);
        arbitration_.remove(id);
    }
    step_and_wake();
}

TenantId Arbiter::attach(VNpuId id, std::shared_ptr<ReportPage> page, uint32_t pid, bool fresh) {
    TenantId tenant = 0;
    {
        std::lock_guard lock(mutex_);
        tenant = arbitration_.attach(id, std::move(page), pid, fresh);
    }
    deaths_.watch(tenant, pid);
    step_and_wake();
    return tenant;
}

void Arbiter::detach(VNpuId id, TenantId tenant) {
    deaths_.forget(tenant);
    {
        std::lock_guard lock(mutex_);
        arbitration_.detach(id, tenant);
    }
    step_and_wake();
}

uint32_t Arbiter::applied_revision(VNpuId id, TenantId tenant) const {
    std::lock_guard lock(mutex_);
    return arbitration_.applied_revision(id, tenant);
}

void Arbiter::watch(VNpuId id, bool watched) {
    {
        std::lock_guard lock(mutex_);
        arbitration_.watch(id, watched);
    }
    step_and_wake();
}

VNpuState Arbiter::state(VNpuId id) const {
    std::lock_guard lock(mutex_);
    return arbitration_.state(id);
}

uint32_t Arbiter::held_cores() const {
    std::lock_guard lock(mutex_);
    return arbitration_.held_cores();
}

std::vector<VNpuId> Arbiter::take_news() {
    std::lock_guard lock(mutex_);
    return arbitration_.take_news();
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
    for (auto& [id, vnpu] : arbitration_.vnpus()) {
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
    for (const auto& [id, vnpu] : arbitration_.vnpus()) {
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
    std::map<VNpuId, VNpu>& vnpus = arbitration_.vnpus();
    const auto vnpu = vnpus.find(heard.vnpu);
    if (vnpu == vnpus.end()) return;
    const auto tenant = vnpu->second.tenants.find(heard.tenant);
    if (tenant != vnpu->second.tenants.end()) tenant->second.bell.woke(now_ns);
}

int64_t Arbiter::step(int64_t now_ns) {
    const Arbitration::Step step = arbitration_.step(now_ns);
    if (step.news) eventfd_write(event_fd_, 1);
    return step.look_again_ns;
}

void Arbiter::step_and_wake() {
    {
        std::lock_guard lock(mutex_);
        step(monotonic_ns());
    }
    wake_up(*wake_);
}

void Arbiter::note_death(TenantId tenant) {
    {
        std::lock_guard lock(mutex_);
        arbitration_.note_death(tenant);
    }
    step_and_wake();
}

}  // namespace flexnpu
