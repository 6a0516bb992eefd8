// SPDX-License-Identifier: Apache-2.0
#include "arbiter/vnpu.h"

#include <algorithm>
#include <utility>

namespace flexnpu {
namespace {

// More than any honest tenant has to say in a moment: a turn takes about three rings.
constexpr int64_t kWindowNs = 1'000'000;
constexpr uint32_t kMostRings = 16;
constexpr uint32_t kEmptyRing = 4;  // one without news counts for so many

// What takes longer than this to leave the device is not waited for.
constexpr int64_t kClearWithinNs = 100'000'000;

}  // namespace

void Bell::hear(uint32_t count, bool news, int64_t now_ns) {
    if (count != count_) ring(news ? 1 : kEmptyRing, now_ns);
    count_ = count;
}

void Bell::woke(int64_t now_ns) { ring(1, now_ns); }

void Bell::ring(uint32_t weight, int64_t now_ns) {
    if (now_ns - window_ns_ >= kWindowNs) {
        window_ns_ = now_ns;
        rings_ = 0;
    }
    rings_ += weight;
    if (rings_ > kMostRings) muted_until_ns_ = now_ns + kWindowNs;
}

uint32_t believed_grant(const VNpu& vnpu, const Tenant& tenant) {
    if (!tenant.page) return 0;
    return std::min(std::max(tenant.page->applied_grant(vnpu.ordinal), tenant.base_grant), vnpu.view.granted.number);
}

uint32_t believed_clear(const VNpu& vnpu, Tenant& tenant, int64_t now_ns) {
    const uint32_t applied = believed_grant(vnpu, tenant);
    if (std::exchange(tenant.applied, applied) != applied) tenant.applied_ns = now_ns;
    const uint32_t told = tenant.page ? tenant.page->cleared_grant(vnpu.ordinal) : 0;
    if (told == 0 || now_ns - tenant.applied_ns >= kClearWithinNs) return applied;
    return std::min(std::max(told, tenant.base_grant), applied);
}

bool has_entered(const VNpu& vnpu, const Tenant& tenant) {
    return tenant.page && tenant.page->turn_entered(vnpu.ordinal) >= vnpu.number;
}

bool has_drained(const VNpu& vnpu, const Tenant& tenant) {
    return !has_entered(vnpu, tenant) || tenant.page->turn_drained(vnpu.ordinal) == vnpu.number;
}

bool waits(const VNpu& vnpu, const Tenant& tenant) {
    return tenant.page && !tenant.passed && tenant.page->waiting(vnpu.ordinal) > 0;
}

uint64_t launches_of(const VNpu& vnpu) {
    uint64_t sum = 0;
    for (const auto& [id, tenant] : vnpu.tenants) sum += tenant.page ? tenant.page->launches(vnpu.ordinal) : 0;
    return sum;
}

uint64_t busy_of(const VNpu& vnpu) {
    uint64_t sum = 0;
    for (const auto& [id, tenant] : vnpu.tenants) sum += tenant.page ? tenant.page->busy_ns(vnpu.ordinal) : 0;
    return sum;
}

uint32_t rings_of(const VNpu& vnpu) {
    uint32_t sum = 0;
    for (const auto& [id, tenant] : vnpu.tenants) sum += tenant.page ? tenant.page->bell_count(vnpu.ordinal) : 0;
    return sum;
}

void write_turn(VNpu& vnpu, uint64_t word) {
    if (word == vnpu.word) return;
    vnpu.word = word;
    vnpu.page->set_turn(vnpu.ordinal, word);
}

int64_t sooner(int64_t a_ns, int64_t b_ns) {
    if (a_ns == 0 || b_ns == 0) return std::max(a_ns, b_ns);
    return std::min(a_ns, b_ns);
}

}  // namespace flexnpu
