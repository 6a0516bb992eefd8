// SPDX-License-Identifier: Apache-2.0
// A tenant whose device time is known: launches kernels of chosen durations on the software NPU (paced clock, math
// skipped) and writes down when each ran, in device time. It goes through AscendCL's public calls alone; only what a
// kernel is, the software NPU says (runtime/kernel.h).
//
//     load --ops NS[,NS...] --out FILE [--cores N|0 (as it is told)] [--busy NS --idle NS] [--step N] [--every NS]
//          [--seed N]
//
// Says {"ready": true}, reads "START END" (CLOCK_MONOTONIC, ns) from standard input, works in between, and ends.
// Without --step and --every it keeps the stream full. A step is N operators (1 with --every alone) that are launched
// together and waited for, as an engine does: the next one follows at once or, with --every, each so many ns.
// FILE gets one Ran per operator; standard output, the core counts that it was told, as JSON.
#include <getopt.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>

#include "changes.h"
#include "softnpu/runtime/kernel.h"

namespace {

struct Settings {
    std::vector<int64_t> durations_ns;
    const char* out = nullptr;
    uint32_t cores = 24;
    int64_t busy_ns = 0, idle_ns = 0, every_ns = 0;
    uint32_t step = 0;  // operators; 0: it keeps the stream full
    unsigned seed = 1;
};

// An operator that was run. Device times are in microseconds, as events have them.
struct Ran {
    int64_t asked_ns;  // host time (CLOCK_MONOTONIC) before the launch
    int64_t asked_us;  // of a step's first: device time at which the stream had nothing else to do; else 0
    int64_t ended_us;  // device time of its end
    int64_t duration_ns;
};

constexpr int64_t kAheadNs = 50'000'000;  // of device time that is queued at most
constexpr size_t kAhead = 256;            // operators

softnpu::Kernel make_kernel() {
    softnpu::Kernel kernel;
    kernel.name = "load";
    kernel.drop = [](void*) {};
    return kernel;
}

class Load {
  public:
    explicit Load(const Settings& settings)
        : settings_(settings),
          random_(settings.seed),
          which_(0, settings.durations_ns.size() - 1),
          kernels_(settings.durations_ns.size(), make_kernel()) {}

    bool open() {
        if (aclInit(nullptr) != ACL_SUCCESS || aclrtSetDevice(0) != ACL_SUCCESS) return false;
        if (aclrtCreateStream(&stream_) != ACL_SUCCESS) return false;
        for (aclrtEvent& event : events_) aclrtCreateEventExWithFlag(&event, ACL_EVENT_TIME_LINE);
        aclrtCreateEventExWithFlag(&asked_, ACL_EVENT_TIME_LINE);
        return true;
    }

    void work(int64_t start, int64_t end) {
        sleep_until(start);
        for (int64_t now = start; now < end; now = now_ns()) {
            if (settings_.every_ns > 0) sleep_until(next_period(start));
            if (settings_.step > 0) {
                step();
            } else if (settings_.idle_ns > 0 && (now - start) % period() >= settings_.busy_ns) {
                finish();
                sleep_until(now + period() - (now - start) % period());
            } else {
                keep_full();
            }
        }
        finish();
    }

    bool write() const {
        FILE* file = std::fopen(settings_.out, "wb");
        const bool done = file != nullptr && std::fwrite(ran_.data(), sizeof(Ran), ran_.size(), file) == ran_.size();
        return file != nullptr && std::fclose(file) == 0 && done;
    }

    const CoreChanges& changes() const { return changes_; }

  private:
    struct Queued {
        Ran ran;
        aclrtEvent end;
    };

    int64_t period() const { return settings_.busy_ns + settings_.idle_ns; }

    static void sleep_until(int64_t time) {
        const timespec at{time / 1'000'000'000, time % 1'000'000'000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
    }

    void launch() {
        const size_t which = which_(random_);
        const int64_t duration = settings_.durations_ns[which];
        softnpu::KernelArgs args{};
        args.cost.unit = softnpu::Unit::cube;
        args.cost.fixed_s = static_cast<double>(duration) * 1e-9;
        args.cost.cube_rate = 1;
        aclrtEvent end = events_[launched_++ % kAhead];
        queue_.push_back({{now_ns(), 0, 0, duration}, end});
        queued_ns_ += duration;
        const uint32_t told = changes_.ask();
        aclrtLaunchKernelWithHostArgs(&kernels_[which], settings_.cores != 0 ? settings_.cores : told, stream_, nullptr,
                                      &args, sizeof args, nullptr, 0);
        aclrtRecordEvent(end, stream_);
    }

    void take_oldest() {
        Queued oldest = queue_.front();
        queue_.pop_front();
        queued_ns_ -= oldest.ran.duration_ns;
        uint64_t ended = 0;
        aclrtSynchronizeEvent(oldest.end);
        aclrtEventGetTimestamp(oldest.end, &ended);
        oldest.ran.ended_us = static_cast<int64_t>(ended);
        ran_.push_back(oldest.ran);
    }

    void keep_full() {
        launch();
        while (queue_.size() == kAhead || (queue_.size() > 1 && queued_ns_ > kAheadNs)) take_oldest();
    }

    void finish() {
        while (!queue_.empty()) take_oldest();
    }

    // Its next moment that is not past yet.
    int64_t next_period(int64_t start) const {
        return start + ((now_ns() - start) / settings_.every_ns + 1) * settings_.every_ns;
    }

    void step() {
        const size_t first = ran_.size();
        uint64_t asked = 0;
        aclrtRecordEvent(asked_, stream_);  // takes no device time and waits for nobody
        for (uint32_t i = 0; i < settings_.step; ++i) launch();
        finish();
        aclrtEventGetTimestamp(asked_, &asked);
        ran_[first].asked_us = static_cast<int64_t>(asked);
    }

    const Settings& settings_;
    std::mt19937 random_;
    std::uniform_int_distribution<size_t> which_;
    std::vector<softnpu::Kernel> kernels_;  // one for each duration: a function's launches take about equally long
    aclrtStream stream_ = nullptr;
    aclrtEvent asked_ = nullptr;
    std::array<aclrtEvent, kAhead> events_{};
    uint64_t launched_ = 0;
    std::deque<Queued> queue_;
    int64_t queued_ns_ = 0;
    std::vector<Ran> ran_;
    CoreChanges changes_;
};

std::vector<int64_t> numbers(const char* list) {
    std::vector<int64_t> found;
    for (char* rest = nullptr; *list != '\0'; list = *rest == ',' ? rest + 1 : rest) {
        found.push_back(std::strtoll(list, &rest, 10));
        if (rest == list || found.back() <= 0) return {};
    }
    return found;
}

bool read_settings(int argc, char** argv, Settings& settings) {
    static const option known[] = {{"ops", 1, nullptr, 'o'},  {"out", 1, nullptr, 'f'},  {"cores", 1, nullptr, 'c'},
                                   {"busy", 1, nullptr, 'b'}, {"idle", 1, nullptr, 'i'}, {"every", 1, nullptr, 'e'},
                                   {"step", 1, nullptr, 'n'}, {"seed", 1, nullptr, 's'}, {nullptr, 0, nullptr, 0}};
    for (int flag = 0; (flag = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
        switch (flag) {
            case 'o':
                settings.durations_ns = numbers(optarg);
                break;
            case 'f':
                settings.out = optarg;
                break;
            case 'c':
                settings.cores = static_cast<uint32_t>(std::atoi(optarg));
                break;
            case 'b':
                settings.busy_ns = std::atoll(optarg);
                break;
            case 'i':
                settings.idle_ns = std::atoll(optarg);
                break;
            case 'e':
                settings.every_ns = std::atoll(optarg);
                break;
            case 'n':
                settings.step = static_cast<uint32_t>(std::atoi(optarg));
                break;
            case 's':
                settings.seed = static_cast<unsigned>(std::atoi(optarg));
                break;
            default:
                return false;
        }
    }
    if (settings.every_ns > 0 && settings.step == 0) settings.step = 1;
    return !settings.durations_ns.empty() && settings.out != nullptr && settings.step <= kAhead;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    if (!read_settings(argc, argv, settings)) {
        std::fprintf(
            stderr, "usage: %s --ops NS[,NS...] --out FILE [--cores N] [--busy NS --idle NS] [--step N] [--every NS]\n",
            argv[0]);
        return 2;
    }
    Load load(settings);
    if (!load.open()) return 1;
    std::puts("{\"ready\": true}");
    std::fflush(stdout);
    long long start = 0, end = 0;
    if (std::scanf("%lld %lld", &start, &end) != 2) return 1;
    load.work(start, end);
    if (!load.write()) return 1;
    std::printf("{\"cores\": [");
    load.changes().print(stdout);
    std::puts("]}");
    return 0;
}
