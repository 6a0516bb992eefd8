// SPDX-License-Identifier: Apache-2.0
//
// Tells at once when a tenant's process has died, so that nobody waits until it is next looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace flexnpu {

// A thread that sleeps on pidfds, from the first watch on. Where the kernel has none (Linux before 5.3), nobody is
// told.
class Deaths {
  public:
    // Called in that thread, once for each process, with nothing locked here.
    explicit Deaths(std::function<void(uint64_t id)> on_death);
    ~Deaths();
    Deaths(const Deaths&) = delete;
    Deaths& operator=(const Deaths&) = delete;

    // `pid` must be alive or a zombie now; 0 is nobody.
    void watch(uint64_t id, uint32_t pid);
    // A call under way for this id may still come.
    void forget(uint64_t id);
    // Nobody is told any more.
    void stop();

  private:
    void run();

    const std::function<void(uint64_t)> on_death_;
    int epoll_fd_ = -1, stop_fd_ = -1;
    std::mutex mutex_;
    std::map<uint64_t, int> pidfds_;
    std::thread thread_;
};

}  // namespace flexnpu
