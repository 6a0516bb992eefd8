// SPDX-License-Identifier: Apache-2.0
//
// The daemon's side of the shared pages: sealed memfds, the one writer of control pages, and the reader of report
// pages, which are untrusted input. Thread-safe: every shared field is read and written atomically.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "flexnpu/page.h"

namespace flexnpu {

// An owned memfd and the daemon's mapping of it. Throws std::system_error when the kernel refuses.
class SharedPage {
  public:
    SharedPage(const SharedPage&) = delete;
    SharedPage& operator=(const SharedPage&) = delete;
    int fd() const { return fd_; }
    void close_fd();  // the mapping stays

  protected:
    SharedPage(const char* label, size_t size);
    // Takes over what a tenant hands back: a sealed memfd of that size. Owns fd; throws std::invalid_argument.
    SharedPage(int fd, size_t size);
    ~SharedPage();
    void seal(int seals);
    void* at() const { return map_; }

  private:
    int fd_ = -1;
    size_t size_;
    void* map_ = nullptr;
};

// What the tenants of one vNPU read. Only this mapping can write it: the seals came after the mapping.
class ControlPage : public SharedPage, public std::enable_shared_from_this<ControlPage> {
  public:
    // `devices`: the physical ordinals, in the order in which the program counts them.
    ControlPage(std::string_view vnpu, const std::vector<uint32_t>& devices);
    // Of the ordinal's section: release store of the memory limit and the quota word, then the bell. Any thread.
    void publish(uint32_t ordinal, uint32_t grant, uint32_t cube, uint32_t vector, uint64_t memory_bytes);
    // Sequentially consistent, before any later look at a report; then everybody who waits for the word is woken.
    void set_turn(uint32_t ordinal, uint64_t turn);
    void set_in_flight(uint32_t ordinal, uint64_t ns);
    // What it may hail with, and the print of what it yields to.
    void set_hail(uint32_t ordinal, uint64_t hail);
    void set_yields_to(uint32_t ordinal, uint64_t print);
    uint32_t physical(uint32_t ordinal) const { return page()->devices[ordinal].physical; }
    uint32_t device_count() const { return page()->device_count; }
    uint32_t grant(uint32_t ordinal) const;  // number of the newest
    void set_phase(uint32_t phase);          // flexnpu_phase that was declared
    // Whether steps that begin ring the first bell.
    void set_watched(bool watched);

  private:
    flexnpu_control_page* page() const { return static_cast<flexnpu_control_page*>(at()); }
};

// What the tenants of all vNPUs write: hails (flexnpu/hail.h). A word is believed by whoever knows its print alone.
class HailPage : public SharedPage {
  public:
    HailPage();
    // Of a device that has no word, 0.
    uint64_t hail(uint32_t device) const;

  private:
    flexnpu_hail_page* page() const { return static_cast<flexnpu_hail_page*>(at()); }
};

// Copies of what a tenant says. Numbers are cut to 53 bits (what JSON can carry), grants to 32.
struct DeviceReport {
    uint32_t seen_grant = 0, applied_grant = 0;
    uint64_t applied_ns = 0, waited_ns = 0, busy_ns = 0, memory_denied = 0;
    uint64_t launches[8] = {};
};
struct ReportSnapshot {
    uint64_t tiled = 0, launched = 0, ungoverned = 0;
    uint64_t waits[FLEXNPU_WAITS] = {};  // at the gate, by flexnpu_wait_bucket()
};
struct IterationReport {
    uint64_t steps = 0, phase = 0, requests = 0, new_tokens = 0, context_sum = 0, context_most = 0, graph = 0;
    uint64_t at_ns = 0;  // CLOCK_MONOTONIC, as the tenant says
};
// Steps of each phase so far.
struct StepCounts {
    uint64_t prefill = 0, decode = 0, mixed = 0;
};
struct GraphReport {
    uint32_t ordinal = 0, cube = 0, vector = 0;
    uint64_t replays = 0;
};

// What one tenant writes. Nothing in it is believed: lengths are fixed here and every number is clamped.
class ReportPage : public SharedPage, public std::enable_shared_from_this<ReportPage> {
  public:
    explicit ReportPage(uint32_t pid);
    ReportPage(int fd, uint32_t pid);  // handed back; as SharedPage
    ReportSnapshot read() const;
    DeviceReport read(uint32_t ordinal) const;
    // The last step that was written whole; none (0 steps) of a tenant that never ends writing one.
    IterationReport iteration() const;
    // The newest one that has begun, as far as it was known; the same. steps: which one it is.
    IterationReport begun() const;
    // Changes whenever begun() does.
    uint64_t begun_tellings() const;
    StepCounts steps() const;
    std::vector<GraphReport> graphs() const;
    uint32_t applied_grant(uint32_t ordinal) const;
    uint32_t cleared_grant(uint32_t ordinal) const;  // 0: it does not tell
    // Sequentially consistent: as the gate writes them.
    uint64_t turn_entered(uint32_t ordinal) const;
    uint64_t turn_drained(uint32_t ordinal) const;
    uint32_t waiting(uint32_t ordinal) const;
    uint64_t launches(uint32_t ordinal) const;  // of every kind together
    uint64_t busy_ns(uint32_t ordinal) const;
    uint64_t waited_ns(uint32_t ordinal) const;
    // The word that the tenant raises and wakes when it has news.
    const uint32_t* bell(uint32_t ordinal) const;
    uint32_t bell_count(uint32_t ordinal) const;

  private:
    flexnpu_report_page* page() const { return static_cast<flexnpu_report_page*>(at()); }
    static IterationReport read_step(flexnpu_iteration& from, uint64_t* number = nullptr);
};

// The memory that the tenants of one vNPU share. Nothing in it is believed beyond the vNPU itself.
class LedgerPage : public SharedPage {
  public:
    explicit LedgerPage(uint32_t device_count);
    LedgerPage(int fd, uint32_t device_count);  // handed back; as SharedPage
    uint64_t used(uint32_t ordinal) const;
    uint64_t peak(uint32_t ordinal) const;
    uint64_t charged(uint32_t ordinal, uint32_t slot) const;
    // The slot's process is dead: what it had charged is free again. False: it died within a call; settle() later.
    bool release(uint32_t slot);
    // Makes the sums exact again. False: a tenant was in between.
    bool settle();
    // Whether the descriptor is of this very page.
    bool is(int fd) const;

  private:
    flexnpu_ledger_page* page() const { return static_cast<flexnpu_ledger_page*>(at()); }
    flexnpu_ledger_device& device(uint32_t ordinal) const;
};

}  // namespace flexnpu
