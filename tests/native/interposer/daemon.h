// SPDX-License-Identifier: Apache-2.0
// The daemon's side of one tenant's attach, in the test's own process: listens, hears hellos, hands out pages.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "flexnpu/page.h"

struct Terms {
    uint32_t page_version = FLEXNPU_PAGE_VERSION;     // in the pages
    uint32_t welcome_version = FLEXNPU_PAGE_VERSION;  // in the welcome
    uint32_t status = FLEXNPU_OK;
    std::string message;
    std::vector<uint32_t> devices = {0};
    uint32_t cube = 12, vector = 24;
    uint64_t memory_bytes = 1 << 20;
    uint64_t turn = FLEXNPU_TURN_FREE;
    uint64_t in_flight_ns = 0;
    std::optional<uint32_t> slot;          // instead of the right one
    std::optional<uint32_t> device_count;  // in the control page, instead of the right one
    std::string nonsense;                  // instead of the welcome
    bool pages = true;                     // in the welcome
    bool another_ledger = false;           // in the welcome, instead of the vNPU's
    bool empty_control = false;            // a control page without a byte
};

class Daemon {
  public:
    explicit Daemon(Terms terms = {});  // listens, and sets FLEXNPU_SOCKET and FLEXNPU_VNPU
    ~Daemon();

    // As a killed daemon goes, and as the next one starts: with a control page of its own and no memory of its
    // tenants, but for what they bring back.
    void die();
    void come_back(Terms terms);
    // Tenants that have come back to the daemon that runs now.
    size_t returned();

    void publish(uint32_t grant, uint32_t cube, uint32_t vector, uint32_t ordinal = 0);
    // Opens, closes or passes on a turn, as the arbiter does.
    void turn(uint64_t word, uint32_t ordinal = 0);
    // As the arbiter tells a vNPU what it yields to, and what to hail with; and what another vNPU hails.
    void yields_to(uint64_t print, uint32_t ordinal = 0);
    void may_hail(uint64_t hail, uint32_t ordinal = 0);
    void hail(uint64_t word, uint32_t device = 0);
    uint64_t hailed(uint32_t device = 0) const;
    void scribble_on_hails();  // as any tenant may
    void limit_memory(uint64_t bytes, uint32_t ordinal = 0);
    void declare(flexnpu_phase phase);
    void watch();

    // The page of the n-th tenant that attached, and its section of the first device.
    const flexnpu_report_page& page(size_t tenant = 0);
    const flexnpu_report_device& report(size_t tenant = 0) { return page(tenant).devices[0]; }
    const flexnpu_ledger_device& ledger(uint32_t ordinal = 0) const { return ledger_->devices[ordinal]; }
    uint64_t memory_used(uint32_t ordinal = 0) const;
    size_t tenants();
    bool applied_within(uint32_t grant, double seconds);

  private:
    void make_control();
    void listen_at_path();
    void serve();
    void welcome(int connection);
    int report_for(const flexnpu_hello& hello, const std::vector<int>& brought, uint32_t* slot);

    Terms terms_;
    std::string directory_, path_;
    int listener_ = -1;
    int control_fd_ = -1;
    int ledger_fd_ = -1;
    int hail_fd_ = -1;
    flexnpu_control_page* control_ = nullptr;
    flexnpu_ledger_page* ledger_ = nullptr;
    flexnpu_hail_page* hails_ = nullptr;
    std::mutex guard_;
    std::vector<flexnpu_report_page*> reports_;
    std::vector<int> connections_;
    size_t returned_ = 0;
    std::thread server_;
};

bool eventually(const std::function<bool()>& holds, double seconds = 20);
