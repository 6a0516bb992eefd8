// SPDX-License-Identifier: Apache-2.0
//
// The daemon's side of the shared pages: sealed memfds, the one writer of control pages, and the reader of report
// pages, which are untrusted input. Thread-safe: every shared field is read and written atomically.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "flexnpu/page.h"

namespace flexnpu {

// An owned memfd of one page and the daemon's mapping of it. Throws std::system_error when the kernel refuses.
class SharedPage {
  public:
    SharedPage(const SharedPage&) = delete;
    SharedPage& operator=(const SharedPage&) = delete;
    int fd() const { return fd_; }
    void close_fd();  // the mapping stays

  protected:
    SharedPage(const char* label, size_t size);
    ~SharedPage();
    void seal(int seals);
    void* at() const { return map_; }

  private:
    int fd_ = -1;
    size_t size_;
    void* map_ = nullptr;
};

// What the tenants of one vNPU read. Only this mapping can write it: the seals came after the mapping.
class ControlPage : public SharedPage {
  public:
    ControlPage(std::string_view vnpu, uint32_t device);
    // Release store of the quota word, the memory limit, then revision_futex and a wake of the heralds.
    void publish(uint32_t revision, uint32_t cube, uint32_t vector, uint64_t memory_bytes);

  private:
    flexnpu_control_page* page() const { return static_cast<flexnpu_control_page*>(at()); }
};

// A copy of what a tenant says. Numbers are cut to 53 bits (what JSON can carry), revisions to 32.
struct ReportSnapshot {
    uint32_t seen_revision = 0, applied_revision = 0;
    uint64_t applied_ns = 0;
    uint64_t memory_used = 0, memory_peak = 0, memory_denied = 0;
    uint64_t tiled = 0, launched = 0, ungoverned = 0;
    uint64_t launches[8] = {};
};

// What one tenant writes. Nothing in it is believed: lengths are fixed here and every number is clamped.
class ReportPage : public SharedPage {
  public:
    explicit ReportPage(uint32_t pid);
    ReportSnapshot read() const;
    uint32_t applied_revision() const;
    // The word the tenant wakes when it has applied a revision; its value for a futex wait.
    const uint32_t* applied_word() const;

  private:
    flexnpu_report_page* page() const { return static_cast<flexnpu_report_page*>(at()); }
};

}  // namespace flexnpu
