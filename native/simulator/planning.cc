// SPDX-License-Identifier: Apache-2.0
#include "simulator/planning.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "simulator/device.h"
#include "simulator/view.h"

namespace flexnpu::simulator {
namespace {

constexpr double kFine = 16, kCoarse = 4;  // steps per octave
constexpr int64_t kNothing = -(1 << 20);
constexpr double kParts = 16;   // of the TTFT target
constexpr int64_t kLate = 100;  // steps of a wait beyond the target begin here
constexpr int64_t kAlike = 16;  // iterations that are taken at once
// Answers that are remembered: more than there are cells in a trace of any usual spread.
constexpr std::size_t kRemembered = 1 << 14;

int64_t step(double value, double per_octave) {
    return value > 0.0 ? static_cast<int64_t>(std::floor(std::log2(value) * per_octave)) : kNothing;
}

bool by_cell(Looks looks) {
    return looks == Looks::batch || looks == Looks::load || looks == Looks::wait || looks == Looks::split;
}

bool by_queue(Looks looks) { return looks == Looks::queue || looks == Looks::all; }

bool by_feedback(const std::optional<Looks>& looks) {
    return !looks || *looks == Looks::window || *looks == Looks::all;
}

}  // namespace

std::size_t CellHash::operator()(const Cell& cell) const {
    uint64_t hash = 0;
    for (const int64_t each : cell.steps) {
        hash = (hash ^ static_cast<uint64_t>(each)) * 0x9E3779B97F4A7C15U;
        hash ^= hash >> 32U;
    }
    return hash;
}

Planning::Planning(Device& device, Policy& policy, std::optional<Looks> looks, std::shared_ptr<Answers> answers)
    : window(device.settings, by_feedback(looks)),
      device_(device),
      policy_(policy),
      looks_(looks),
      answers_(std::move(answers)),
      gauge_(gauge_of(device.times, device.settings.cores, device.settings.token_budget)),
      every_(device.settings.look_seconds) {}

Plan Planning::ask(double now) {
    if (every_ > 0.0) {
        if (plan_ && now < next_look_) return *plan_;
        next_look_ = next_multiple(now, every_);
        if (next_look_ <= now) next_look_ += every_;  // by rounding
    }
    if (looks_ == Looks::nothing && plan_) return *plan_;
    if (looks_ && by_cell(*looks_)) return remembered(now, cell(now));
    if (looks_ == Looks::queue && !device_.prompted()) {
        cell_.reset();
        return remembered(now, {});
    }
    std::optional<Feedback> feedback;
    if (now >= window.end()) feedback = window.closed(now);
    bool same = looks_ == Looks::window;
    if (looks_ && by_queue(*looks_)) {
        const std::optional<Cell> before = std::exchange(cell_, load_cell(now));
        same = before == cell_;
    }
    return plan_ && !feedback && same ? *plan_ : fresh(now, feedback);
}

int64_t Planning::patience(double now, double seconds) const {
    if (!looks_) return 1;
    const std::vector<RequestPtr>& half = device_.prompts.half_run();
    const double target = device_.settings.ttft;
    if ((by_queue(*looks_) || *looks_ == Looks::wait) && !half.empty() && now - half.front()->since < target) {
        const double many = target / kParts / seconds;
        return many < static_cast<double>(kAlike) ? std::max<int64_t>(1, static_cast<int64_t>(many)) : kAlike;
    }
    return kAlike;
}

const Plan& Planning::remembered(double now, const Cell& cell) {
    auto known = answers_->find(cell);
    if (known == answers_->end()) {
        if (answers_->size() >= kRemembered) answers_->clear();
        known = answers_->emplace(cell, kept(fresh(now, {}))).first;
    }
    return plan_.emplace(known->second);
}

// As it holds all over its cell: what runs all there is runs all there is, be it a few tokens more.
Plan Planning::kept(Plan plan) const {
    const int64_t budget = device_.settings.token_budget;
    if (plan.budget > 0 && device_.prompts.tokens() <= plan.budget && plan.budget < budget) plan.budget = budget;
    return plan;
}

Cell Planning::cell(double now) const {
    if (looks_ == Looks::batch) return batch_cell();
    return looks_ == Looks::split ? split_cell() : load_cell(now);
}

Cell Planning::batch_cell() const { return {{device_.decoding.sequences(), device_.prompted() ? 1 : 0}}; }

Cell Planning::split_cell() const {
    const Decoding& decoding = device_.decoding;
    const int64_t sequences = decoding.sequences();
    const double decode = sequences > 0 ? gauge_.decode(sequences, decoding.seen()) : 0.0;
    const int64_t waiting = every_ > 0.0 || device_.prompted() ? device_.prompts.tokens() : 0;
    return {{step(decode, kFine), step(static_cast<double>(sequences), kCoarse),
             step(static_cast<double>(waiting), kCoarse), plan_ ? plan_->split.decode : 0}};
}

Cell Planning::load_cell(double now) const {
    const Settings& settings = device_.settings;
    const Decoding& decoding = device_.decoding;
    const int64_t sequences = decoding.sequences();
    const Next next = next_prompts(device_);
    const double waited = next.first ? (now - next.first->since) / settings.ttft : 0.0;
    const double decode = sequences > 0 ? gauge_.decode(sequences, decoding.seen()) : 0.0;
    const double prefill = next.tokens > 0 ? gauge_.prefill(next.tokens, next.pairs) : 0.0;
    Cell cell{{step(decode, looks_ == Looks::wait ? kCoarse : kFine), next.tokens == settings.token_budget ? 1 : 0,
               step(prefill, kCoarse), step(static_cast<double>(sequences), kCoarse)}};
    if (looks_ == Looks::load) return cell;
    cell.steps[4] = waited < 1.0 ? static_cast<int64_t>(waited * kParts) : kLate + step(waited, kCoarse);
    if (looks_ == Looks::wait) return cell;
    const Prompts& prompts = device_.prompts;
    cell.steps[5] = orders_ ? prompts.changes() : step(static_cast<double>(prompts.size()), kCoarse);
    cell.steps[6] = step(static_cast<double>(prompts.tokens()), kCoarse);
    return cell;
}

const Plan& Planning::fresh(double now, const std::optional<Feedback>& feedback) {
    const auto waiting = static_cast<std::size_t>(shown_waiting(device_));
    const Answer answer = policy_.plan(device_, now, feedback);
    if (answer.order && !answer.order->empty()) {
        device_.prompts.reorder(*answer.order, waiting);
        orders_ = true;
    }
    device_.counters.plans += 1;
    return plan_.emplace(answer.plan);
}

double Planning::switch_wait(const Plan& plan) {
    const std::optional<Split> before = std::exchange(ran_, plan.split);
    if (!before || *before == plan.split) return 0.0;
    device_.counters.switches += 1;
    return device_.settings.switch_seconds;
}

}  // namespace flexnpu::simulator
