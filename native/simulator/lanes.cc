// SPDX-License-Identifier: Apache-2.0
#include "simulator/lanes.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "simulator/device.h"

namespace flexnpu::simulator {
namespace {

// So small a part of a step is what rounding leaves.
constexpr double kRounding = 1e-9;
// Neither phase is shut out of the time they share.
constexpr double kLeastWeight = 0.01, kMostWeight = 0.99;

int64_t over_by(const std::vector<double>& ends, double now) {
    return std::upper_bound(ends.begin(), ends.end(), now) - ends.begin();
}

}  // namespace

// --- events ---

void Lanes::begin(double now, const Plan& plan) {
    const double wait = device_.planning.switch_wait(plan);
    // Cores that change while the lanes run are seen per lane.
    prefill_.cores = decode_.cores = 0;
    follow(plan);
    start(now, wait);
}

bool Lanes::turn(double now) {
    settle_decode(now);
    settle_prefill(now);
    if (!decode_.running) {
        device_.join();
        if (!prefill_.running) return true;
    }
    follow(device_.planning.ask(now));
    if (runner_of(plan_) == RunnerKind::lanes) {
        start(now, 0.0);
    } else {
        project(now, true);
    }
    return false;
}

void Lanes::arrived(double now) {
    const bool starts = !prefill_.running && !device_.blocked();
    // Who joins decode waits for the end of the step under way, and no longer.
    const bool joins = device_.joins() && (!decode_.running || decode_.ends.size() > 1);
    if (starts || joins) next_seconds_ = now;
}

void Lanes::took_in(double now, double seconds) {
    if (!prefill_.running) return;
    const double held = prefill_.launch.held_up(now, seconds);
    prefill_.extra += held;
    prefill_.full += held;
    prefill_.end += held;
    if (held > 0.0) find_next();
}

int64_t Lanes::owed(double now) const {
    if (!decode_.running) return 0;
    const int64_t begun = std::min(over_by(decode_.ends, now) + 1, static_cast<int64_t>(decode_.ends.size()));
    return device_.decoding.blocks(begun) - decode_.taken;
}

void Lanes::cut(double now) {
    if (decode_.running) next_seconds_ = now;
}

BusyCores Lanes::busy_cores() const {
    const uint32_t prefill = prefill_.running ? prefill_.cores : 0, decode = decode_.running ? decode_.cores : 0;
    if (plan_.mode == Mode::shared || shares()) return {0, 0, std::max(prefill, decode)};
    return {prefill, decode, 0};
}

// --- what is over ---

// Books the steps that have ended by now, and how much is left of the one under way.
void Lanes::settle_decode(double now) {
    if (!decode_.running) return;
    const auto count = static_cast<int64_t>(decode_.ends.size());
    const int64_t over = over_by(decode_.ends, now);
    if (over > 0) {
        device_.counters.steps += over;
        device_.kv.grow(device_.decoding.blocks(over) - decode_.taken);
        device_.decoding.advance({decode_.ends.data(), static_cast<std::size_t>(over)});
        decode_.taken = 0;
        decode_.extra = 0.0;
        device_.decodes_ran();
    }
    double left = 1.0;
    if (over < count) {
        const auto under_way = static_cast<std::size_t>(over);
        left = (decode_.ends[under_way] - now) / decode_.full[under_way];
    }
    decode_.running = over < count && (over == 0 || left < 1.0 - kRounding);
    decode_.left = decode_.running ? left : 1.0;
    if (over > 0 && decode_.running) {
        decode_.taken = device_.decoding.blocks(1);
        device_.kv.grow(decode_.taken);
    }
}

void Lanes::settle_prefill(double now) {
    if (!prefill_.running) return;
    if (prefill_.end > now) {
        prefill_.left = (prefill_.end - now) / prefill_.full;
        if (prefill_.left <= prefill_.until + kRounding) prefill_.cores = prefill_.wanted;
        return;
    }
    device_.counters.prefills += 1;
    const Chunks chunks = std::exchange(prefill_.chunks, {});
    prefill_.running = false;
    prefill_.end = kInfinite;
    for (const Chunk& each : chunks.parts) each.request->flying = 0;
    device_.prompts_ran(chunks, 1, now);
}

// --- what is next ---

void Lanes::follow(const Plan& plan) {
    plan_ = plan;
    if (plan.mode == Mode::shared) weight_ = plan.weight;
}

// Starts what each lane has, on the cores that the plan gives it and the other has left.
void Lanes::start(double now, double wait) {
    const bool follows = device_.settings.launched_part < 1.0;
    bool short_of_blocks = false;
    if (follows) give();
    if (!decode_.running) {
        device_.join();
        short_of_blocks = device_.decoding.sequences() > 0 && device_.secure(now);
        start_decode(wait);
    }
    if (!prefill_.running) {
        start_prefill(wait, !short_of_blocks);
        prefill_.launch.begin(now + prefill_.extra, device_.settings.dispatch_seconds);
    } else if (follows) {
        take();
    }
    project(now);
}

// A prefill at work gives up cores that the plan does not give it any more.
void Lanes::give() {
    const uint32_t cores = plan_.split.prefill;
    if (prefill_.running && cores >= 1 && cores < prefill_.wanted) change(cores);
}

// It gets those that the plan gives it and decode has left. All of them, to share their time, once decode has ended the
// step that it runs on a part.
void Lanes::take() {
    const uint32_t other = decode_.running ? decode_.cores : 0, most = device_.settings.cores;
    uint32_t cores = plan_.split.prefill;
    if (plan_.mode == Mode::split || other < most) cores = std::min(cores, most - other);
    if (cores > prefill_.wanted) change(cores);
}

// Cores for the part of the iteration under way that is not launched yet.
void Lanes::change(uint32_t cores) {
    device_.counters.switches += 1;
    prefill_.wanted = cores;
    prefill_.until = std::max(0.0, prefill_.left - device_.settings.launched_part);
    if (prefill_.until >= prefill_.left - kRounding) prefill_.cores = cores;
}

// When the prefill at work comes to what is launched on other cores.
double Lanes::changes_at() const {
    if (!prefill_.running || prefill_.cores == prefill_.wanted) return kInfinite;
    return prefill_.end - prefill_.until * prefill_.full;
}

// Of the cores that are wanted, those that the other, at work on so many, leaves. One that has them all shares its time
// until it has ended, also where the plan has parted the cores since.
uint32_t Lanes::left_by(uint32_t other, uint32_t wanted) const {
    const uint32_t left = device_.settings.cores - other;
    return left > 0 ? std::min(wanted, left) : wanted;
}

// Whether the lanes have cores at once that they can only have by turns.
bool Lanes::shares() const {
    return prefill_.running && decode_.running && prefill_.cores + decode_.cores > device_.settings.cores;
}

void Lanes::start_decode(double wait) {
    // Beside a prefill that was begun on a part of the cores, decode keeps the other part until that is over.
    const uint32_t cores = left_by(prefill_.running ? prefill_.cores : 0, plan_.split.decode);
    if (cores < 1 || device_.decoding.sequences() == 0) return;
    decode_.running = true;
    decode_.left = 1.0;
    const double switched = changed(decode_.cores, cores);
    decode_.extra = switched != 0.0 ? switched : wait;
    decode_.cores = cores;
    decode_.taken = device_.decoding.blocks(1);
    device_.kv.grow(decode_.taken);
}

void Lanes::start_prefill(double wait, bool admit) {
    uint32_t cores = plan_.split.prefill;
    if (plan_.mode == Mode::split) cores = left_by(decode_.running ? decode_.cores : 0, cores);
    if (cores < 1) return;
    prefill_.chunks = device_.chunks(plan_.budget, admit);
    prefill_.running = !prefill_.chunks.parts.empty();
    if (!prefill_.running) return;
    for (const Chunk& each : prefill_.chunks.parts) each.request->flying = each.tokens;
    prefill_.left = 1.0;
    const double switched = changed(prefill_.cores, cores);
    prefill_.extra = switched != 0.0 ? switched : wait;
    prefill_.cores = prefill_.wanted = cores;
}

double Lanes::changed(uint32_t before, uint32_t cores) {
    if (before == 0 || before == cores) return 0.0;
    device_.counters.switches += 1;
    return device_.settings.switch_seconds;
}

// Ends at the present rates; draining, of the step under way alone.
void Lanes::project(double now, bool drain) {
    const Settings& settings = device_.settings;
    std::optional<Load> load;
    if (decode_.running) load = device_.decoding.load();
    double step = 0.0;
    if (prefill_.running) {
        const auto [seconds, beside_it] = beside(load ? &*load : nullptr);
        step = beside_it;
        prefill_.full = std::max(seconds, settings.dispatch_seconds) + launch_seconds().prefill + prefill_.extra;
        prefill_.end = now + prefill_.left * prefill_.full;
    }
    if (load) project_steps(now, step, drain ? 1 : projected(now, step));
    find_next();
}

void Lanes::find_next() {
    next_seconds_ = std::min({prefill_.end, changes_at(), device_.planning.look_at()});
    if (decode_.running) next_seconds_ = std::min(next_seconds_, decode_.ends.back());
}

void Lanes::project_steps(double now, double step, int64_t count) {
    const double floor = device_.decode_floor(decode_.cores), launch = launch_seconds().decode;
    std::vector<double>& full = decode_.full;
    device_.decode_steps(decode_.cores, count, full);
    const double slower = step != 0.0 ? step / full.front() : 1.0;
    for (double& each : full) each = std::max(each * slower, floor) + launch;
    full.front() += decode_.extra;
    decode_.ends.resize(full.size());
    double sum = full.front() * decode_.left;
    decode_.ends.front() = sum + now;
    for (std::size_t i = 1; i < full.size(); ++i) {
        sum += full[i];
        decode_.ends[i] = sum + now;
    }
}

// Steps up to what cuts them for certain. `step`: seconds of one, 0 when nothing runs beside.
int64_t Lanes::projected(double now, double step) {
    const bool held_back = !prefill_.running && device_.prompted();
    if (device_.joins() || held_back || plan_.split.decode != decode_.cores) return 1;
    Decoding& decoding = device_.decoding;
    const int64_t count = decoding.affordable(device_.kv.free() + decode_.taken, decoding.until_finish());
    if (!prefill_.running) return count;
    const double until_its_end = std::trunc((prefill_.end - now) / step) + 2.0;
    return until_its_end < static_cast<double>(count) ? static_cast<int64_t>(until_its_end) : count;
}

// Seconds of the prefill iteration, and of decode's next step, where there is one, beside it.
std::pair<double, double> Lanes::beside(const Load* load) const {
    const Load& prompts = prefill_.chunks.load;
    if (!load) return {device_.times.seconds(prefill_.cores, prompts), 0.0};
    const Settings& settings = device_.settings;
    if (!shares()) {
        const auto [prefill, decode] = device_.times.beside(prefill_.cores, prompts, decode_.cores, *load);
        return {prefill * settings.beside.prefill, decode * settings.beside.decode};
    }
    const double weight = std::min(std::max(weight_, kLeastWeight), kMostWeight);
    const double alone = device_.times.seconds(prefill_.cores, prompts);
    return {settings.turns.prefill * alone / (1.0 - weight),
            settings.turns.decode * device_.times.seconds(decode_.cores, *load) / weight};
}

// Of an iteration of each phase, for which the device waits.
Phases Lanes::launch_seconds() const {
    const Settings& settings = device_.settings;
    const Phases more = plan_.mode == Mode::shared ? settings.turn_seconds : Phases{0.0, 0.0};
    return {settings.launch_seconds + more.prefill, settings.launch_seconds + more.decode};
}

}  // namespace flexnpu::simulator
