// SPDX-License-Identifier: Apache-2.0
// The daemon's side of one tenant's attach, in the test's own process: listens, hears hellos, hands out pages.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "flexnpu/page.h"

struct Terms {
    uint32_t page_version = FLEXNPU_PAGE_VERSION;     // in the pages
    uint32_t welcome_version = FLEXNPU_PAGE_VERSION;  // in the welcome
    uint32_t status = FLEXNPU_OK;
    std::string message;
    uint32_t device = 0;
    uint32_t cube = 12, vector = 24;
    uint64_t memory_bytes = 1 << 20;
};

class Daemon {
  public:
    explicit Daemon(Terms terms = {});  // listens, and sets FLEXNPU_SOCKET and FLEXNPU_VNPU
    ~Daemon();

    void publish(uint32_t revision, uint32_t cube, uint32_t vector);
    void limit_memory(uint64_t bytes);

    // The page of the n-th tenant that attached.
    const flexnpu_report_page& report(size_t tenant = 0);
    size_t tenants();
    bool applied_within(uint32_t revision, double seconds);

  private:
    void serve();
    void welcome(int connection);

    Terms terms_;
    std::string directory_, path_;
    int listener_ = -1;
    int control_fd_ = -1;
    flexnpu_control_page* control_ = nullptr;
    std::mutex guard_;
    std::vector<flexnpu_report_page*> reports_;
    std::vector<int> connections_;
    std::thread server_;
};

bool eventually(const std::function<bool()>& holds, double seconds = 20);
