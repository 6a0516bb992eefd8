// SPDX-License-Identifier: Apache-2.0
//
// Carries out schedule(): opens and closes turns on the control pages, and finds in the reports who waits, who is done
// and who cannot run. Used under the arbiter's lock.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "arbiter/vnpu.h"

namespace flexnpu {

// Of a vNPU on several devices: it takes turns on this one from now on; it does not any more.
void join_gang(const VNpu& vnpu);
void leave_gang(const VNpu& vnpu);

class Turns {
  public:
    // Turns are numbered on from `newest`; no report of an earlier daemon may know a higher one. Without a page for
    // hails nobody opens its turn itself.
    explicit Turns(uint64_t newest, std::shared_ptr<HailPage> hails = nullptr)
        : newest_(newest), hails_(std::move(hails)) {}

    // `vnpus`: all of the device. The time until the next look; 0 for never.
    int64_t step(const std::vector<VNpu*>& vnpus, int64_t now_ns);
    uint64_t next_number() { return ++newest_; }

  private:
    struct Pool {
        std::vector<VNpu*> vnpus;
        std::vector<TurnView> views;
    };
    Pool gather(const std::vector<VNpu*>& vnpus, int64_t now_ns);
    static void bound(Pool& pool, int64_t now_ns);
    bool settle(Pool& pool, int64_t now_ns);
    bool carry_out(Pool& pool, const TurnPlan& plan, int64_t now_ns);
    void open(Pool& pool, size_t at, int64_t now_ns);
    void close(Pool& pool, size_t at, int64_t now_ns);
    void leave(Pool& pool, size_t at, int64_t now_ns);
    void end(Pool& pool, size_t at, int64_t now_ns);
    int64_t watch(Pool& pool, size_t at, int64_t now_ns);
    void flag(Pool& pool, size_t at);

    // Standby: one vNPU at most may open its turn itself, as the one that would go first if it came now.
    bool has_come(const VNpu& vnpu) const;
    bool take_over(Pool& pool, int64_t now_ns);
    bool dismiss(Pool& pool, int64_t now_ns);
    void appoint(Pool& pool, int64_t now_ns);
    static std::optional<size_t> on_standby(const Pool& pool);
    static bool is_likelier(const Pool& pool, size_t at, size_t than, int64_t now_ns);
    static std::optional<size_t> likeliest(const Pool& pool, int64_t now_ns);
    static void publish(Pool& pool);

    uint64_t newest_;
    const std::shared_ptr<HailPage> hails_;
};

}  // namespace flexnpu
