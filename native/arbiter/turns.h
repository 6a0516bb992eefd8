// SPDX-License-Identifier: Apache-2.0
//
// Carries out schedule(): opens and closes turns on the control pages, and finds in the reports who waits, who is done
// and who cannot run. Used under the arbiter's lock.
#pragma once

#include <vector>

#include "arbiter/vnpu.h"

namespace flexnpu {

// Of a vNPU on several devices: it takes turns on this one from now on; it does not any more.
void join_gang(const VNpu& vnpu);
void leave_gang(const VNpu& vnpu);

class Turns {
  public:
    // Turns are numbered on from `newest`; no report of an earlier daemon may know a higher one.
    explicit Turns(uint64_t newest) : newest_(newest) {}

    // `vnpus`: all of the device. The time until the next look; 0 for never.
    int64_t step(const std::vector<VNpu*>& vnpus, int64_t now_ns);
    uint64_t next_number() { return ++newest_; }

  private:
    struct Pool {
        std::vector<VNpu*> vnpus;
        std::vector<TurnView> views;
    };
    Pool gather(const std::vector<VNpu*>& vnpus, int64_t now_ns);
    bool settle(Pool& pool, int64_t now_ns);
    bool carry_out(Pool& pool, const TurnPlan& plan, int64_t now_ns);
    void open(Pool& pool, size_t at, int64_t now_ns);
    void close(Pool& pool, size_t at, int64_t now_ns);
    void leave(Pool& pool, size_t at, int64_t now_ns);
    void end(Pool& pool, size_t at, int64_t now_ns);
    int64_t watch(Pool& pool, size_t at, int64_t now_ns);
    void flag(Pool& pool, size_t at);

    uint64_t newest_;
};

}  // namespace flexnpu
