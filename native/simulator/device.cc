// SPDX-License-Identifier: Apache-2.0
#include "simulator/device.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace flexnpu::simulator {
namespace {

constexpr int64_t kAhead = 64;  // decode steps that are forecast at once

}  // namespace

RunnerKind runner_of(const Plan& plan) {
    if (plan.mode == Mode::split && plan.steps > 0) return RunnerKind::rounds;
    return plan.mode == Mode::aggregated ? RunnerKind::mixed : RunnerKind::lanes;
}

Device::Device(Settings given, Times& times, Policy& policy, std::optional<Looks> looks,
               std::shared_ptr<Answers> answers)
    : settings(std::move(given)),
      times(times),
      kv(settings.blocks, settings.block_tokens, settings.hash_tokens, settings.prefix_caching),
      prompts(settings.whole_prompts, settings.look_seconds > 0.0),
      decoding(settings.block_tokens, settings.ttft, settings.itl),
      planning(*this, policy, looks, std::move(answers)),
      mixed_(*this),
      rounds_(*this),
      lanes_(*this) {}

// --- from the pool ---

void Device::put(RequestPtr request, double now) {
    prompts.put(std::move(request));
    if (runner_) runner_->took_in(now, settings.intake_seconds);
    woken(now);
}

void Device::put_decoding(RequestPtr request, int64_t blocks, double now) {
    request->held = blocks;
    coming_ -= 1;
    admitted.add(request);
    joining_.push_back(std::move(request));
    woken(now);
}

void Device::wake(double now) {
    if (!prompts.empty() && !runner_) next_seconds_ = now;
}

int64_t Device::free_blocks(double now) const { return kv.free() - (runner_ ? runner_->owed(now) : 0); }

void Device::take(int64_t blocks, double now) {
    if (runner_) {
        runner_->cut(now);
        next_seconds_ = runner_->next_seconds();
    }
    kv.grow(blocks);
    coming_ += 1;
}

void Device::woken(double now) {
    if (runner_) {
        runner_->arrived(now);
        next_seconds_ = runner_->next_seconds();
    } else {
        next_seconds_ = now;
    }
}

void Device::turn(double now) {
    if (turning_) throw std::logic_error("a device whose turn has failed, or is under way, takes no other");
    turning_ = true;
    counters.turns += 1;
    if (!runner_ || runner_->turn(now)) begin(now);
    next_seconds_ = runner_ ? runner_->next_seconds() : kInfinite;
    turning_ = false;
}

void Device::begin(double now) {
    join();
    if (prompts.empty() && decoding.sequences() == 0) {
        runner_ = nullptr;
        return;
    }
    const Plan plan = planning.ask(now);
    runner_ = &runner_for(plan);
    runner_->begin(now, plan);
    if (runner_->next_seconds() == kInfinite) runner_ = nullptr;
}

Runner& Device::runner_for(const Plan& plan) {
    switch (runner_of(plan)) {
        case RunnerKind::rounds:
            return rounds_;
        case RunnerKind::lanes:
            return lanes_;
        case RunnerKind::mixed:
            break;
    }
    return mixed_;
}

std::vector<RequestPtr> Device::take_finished() { return std::exchange(finished_, {}); }

std::vector<RequestPtr> Device::take_handed() { return std::exchange(handed_, {}); }

void Device::leave(Request& request) {
    kv.release(request);
    admitted.remove(request);
}

std::vector<RequestPtr> Device::all_requests() {
    for (const RequestPtr& request : decoding.members()) decoding.leave(request);
    std::vector<RequestPtr> found(prompts.waiting().begin(), prompts.waiting().end());
    for (RequestPtr& request : admitted.all()) found.push_back(std::move(request));
    return found;
}

BusyCores Device::busy_cores() const { return runner_ ? runner_->busy_cores() : BusyCores{}; }

// --- for runners ---

void Device::join() {
    const int64_t before = joined_step_ == decoding.step() ? joined_ : 0;
    int64_t count = std::min(static_cast<int64_t>(joining_.size()), room());
    if (settings.joins_per_step && decoding.sequences() > 0) {
        count = std::clamp<int64_t>(*settings.joins_per_step - before, 0, count);
    }
    const auto end = joining_.begin() + count;
    std::for_each(joining_.begin(), end, [this](RequestPtr& request) { decoding.join(std::move(request)); });
    joining_.erase(joining_.begin(), end);
    joined_step_ = decoding.step();
    joined_ = before + count;
}

bool Device::joins() const { return !joining_.empty() && room() > 0; }

// For how many more requests decode has room.
int64_t Device::room() const {
    return settings.max_decoding ? *settings.max_decoding - decoding.sequences()
                                 : static_cast<int64_t>(joining_.size());
}

bool Device::secure(double now) {
    if (decoding.blocks(1) <= kv.free()) return false;
    while (decoding.blocks(1) > kv.free()) preempt(admitted.take_newest(), now);
    return true;
}

void Device::preempt(RequestPtr request, double now) {
    if (decoding.has(*request)) {
        decoding.leave(request);
    } else {
        std::erase(joining_, request);
    }
    kv.release(*request);
    request->preemptions += 1;
    counters.preemptions += 1;
    prompts.put_back(std::move(request), now);
}

Chunks Device::chunks(int64_t budget, bool admit) {
    if (prompts.empty()) return {};
    if (budget <= 0) {
        if (decoding.sequences() > 0) return {};
        budget = settings.token_budget;  // an engine with nothing else to do does not hold prompts back
    }
    const int64_t room = admit ? settings.max_running - running() : 0;
    Chunks chunks = prompts.fill(budget, room, kv, admitted);
    counters.kv_peak = std::max(counters.kv_peak, kv.used());
    return chunks;
}

void Device::prompts_ran(const Chunks& chunks, int64_t iterations, double now) {
    for (RequestPtr& request : prompts.ran(chunks, iterations, kv)) {
        request->token(now);
        if (request->generated == 1) planning.window.first_token(*request);
        if (request->generated >= request->output) {
            over(std::move(request));
        } else {
            (decodes ? joining_ : handed_).push_back(std::move(request));
        }
    }
}

void Device::decodes_ran() {
    for (RequestPtr& request : decoding.finish()) over(std::move(request));
}

void Device::over(RequestPtr request) {
    leave(*request);
    planning.window.finished(*request);
    finished_.push_back(std::move(request));
}

void Device::decode_steps(uint32_t cores, int64_t count, std::vector<double>& seconds) {
    int64_t first = decoding.step() - forecast_.from;
    if (forecast_.changes != decoding.changes() || forecast_.cores != cores ||
        first + count > static_cast<int64_t>(forecast_.seconds.size())) {
        // A neighbour that starts or ends changes their pace alone, so some more will be wanted.
        const int64_t ahead = std::max(count, std::min(kAhead, decoding.until_finish()));
        forecast_ = {decoding.changes(), cores, decoding.step(), std::move(forecast_.seconds)};
        forecast_.seconds.resize(static_cast<std::size_t>(ahead));
        times.steps(cores, decoding.load(), forecast_.seconds);
        first = 0;
    }
    const auto from = forecast_.seconds.begin() + first;
    seconds.assign(from, from + count);
}

double Device::decode_floor(uint32_t cores) const {
    const std::vector<uint32_t>& graphs = settings.graphs;
    const bool captured =
        graphs.empty() || cores == settings.cores || std::find(graphs.begin(), graphs.end(), cores) != graphs.end();
    return captured ? settings.graph_seconds : settings.dispatch_seconds;
}

bool Device::blocked() const { return running() >= settings.max_running || prompts.stuck(kv); }

bool Device::prompted() const {
    const std::vector<RequestPtr>& half = prompts.half_run();
    const bool unlaunched = std::any_of(
        half.begin(), half.end(), [](const RequestPtr& each) { return each->target - each->computed > each->flying; });
    return unlaunched || (!prompts.waiting().empty() && !blocked());
}

}  // namespace flexnpu::simulator
