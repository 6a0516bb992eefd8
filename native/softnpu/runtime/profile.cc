// SPDX-License-Identifier: Apache-2.0
#include "runtime/profile.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <ctime>

#include "device/state.h"
#include "runtime/status.h"

namespace softnpu {
namespace {

int64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// As msprof names them, with a part that no other start has.
std::string folder_name(uint32_t number) {
    const int64_t now = clock_ns(CLOCK_REALTIME);
    const time_t seconds = now / 1'000'000'000;
    tm local{};
    localtime_r(&seconds, &local);
    char date[24];
    std::strftime(date, sizeof date, "%Y%m%d%H%M%S", &local);
    char name[80];
    std::snprintf(name, sizeof name, "PROF_%06u_%s%03d_%u%06d", number, date, static_cast<int>(now / 1'000'000 % 1000),
                  getpid(), static_cast<int>(now % 1'000'000));
    return name;
}

std::string one_field(std::string text) {
    for (char& letter : text) {
        letter = letter == '\n' || letter == '\t' ? ' ' : letter;
    }
    return text;
}

bool make_directory(const std::string& path) { return mkdir(path.c_str(), 0750) == 0 || errno == EEXIST; }

}  // namespace

int64_t raw_now_ns() { return clock_ns(CLOCK_MONOTONIC_RAW); }

namespace {

struct Reading {
    int64_t before = wall_now_ns();
    int64_t raw = raw_now_ns();
    int64_t after = wall_now_ns();
};

// By the closest of some readings.
int64_t first_ahead_ns() {
    Reading best;
    for (int i = 0; i < 20; ++i) {
        const Reading other;
        best = other.after - other.before < best.after - best.before ? other : best;
    }
    return best.raw - (best.before + best.after) / 2;
}

}  // namespace

int64_t raw_ahead_ns() {
    static std::atomic<int64_t> ahead{first_ahead_ns()};
    const Reading now;
    const int64_t before = ahead.load(std::memory_order_relaxed);
    const int64_t next = follow_clocks(before, now.before, now.raw, now.after);
    if (next != before) {
        ahead.store(next, std::memory_order_relaxed);
    }
    return next;
}

uint32_t thread_number() {
    thread_local const auto number = static_cast<uint32_t>(gettid());
    return number;
}

std::atomic<bool> Profile::on_{false};

Profile& Profile::get() {
    static auto* const profile = new Profile;
    return *profile;
}

aclError Profile::init(const std::string& directory) {
    const std::lock_guard lock(mutex_);
    if (ready_) {
        return fail(ACL_ERROR_REPEAT_INITIALIZE, "aclprofInit: profiling is set up already, in %s", directory_.c_str());
    }
    struct stat info{};
    if (stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || access(directory.c_str(), W_OK) != 0) {
        return fail(ACL_ERROR_INVALID_FILE, "aclprofInit: %s is no directory that can be written", directory.c_str());
    }
    directory_ = directory;
    ready_ = true;
    return ACL_SUCCESS;
}

aclError Profile::make_folder(uint64_t devices) {
    folder_ = directory_ + "/" + folder_name(++started_);
    const std::string host = folder_ + "/host";
    if (!make_directory(folder_) || !make_directory(host) || !make_directory(host + "/data")) {
        return fail(ACL_ERROR_INVALID_FILE, "aclprofStart: %s: %s", host.c_str(), std::strerror(errno));
    }
    const File clocks(std::fopen((host + "/start_info").c_str(), "w"));
    marks_.reset(std::fopen((host + "/data/marks.tsv").c_str(), "w"));
    bool good = clocks != nullptr && marks_ != nullptr;
    if (good) {
        std::fprintf(clocks.get(),
                     R"({"collectionTimeBegin": "%)" PRId64 R"(", "clockMonotonicRaw": "%)" PRId64 R"(", "pid": "%d"})",
                     clock_ns(CLOCK_REALTIME) / 1000, raw_now_ns(), getpid());
    }
    for (size_t device = 0; good && device < tasks_.size(); ++device) {
        if ((devices >> device & 1) != 0) {
            const std::string own = folder_ + "/device_" + std::to_string(device);
            if (make_directory(own) && make_directory(own + "/data")) {
                tasks_[device].reset(std::fopen((own + "/data/tasks.tsv").c_str(), "w"));
            }
            good = tasks_[device] != nullptr;
        }
    }
    return good ? ACL_SUCCESS
                : fail(ACL_ERROR_INVALID_FILE, "aclprofStart: %s: %s", folder_.c_str(), std::strerror(errno));
}

aclError Profile::start(uint64_t devices) {
    const std::lock_guard lock(mutex_);
    if (!ready_) {
        return fail(ACL_ERROR_PROF_NOT_RUN, "aclprofStart before aclprofInit");
    }
    if (on()) {
        return fail(ACL_ERROR_PROF_ALREADY_RUN, "aclprofStart: profiling runs already, into %s", folder_.c_str());
    }
    const aclError error = make_folder(devices);
    on_.store(error == ACL_SUCCESS);
    return error;
}

aclError Profile::stop() {
    const std::lock_guard lock(mutex_);
    if (!on()) {
        return fail(ACL_ERROR_PROF_NOT_RUN, "aclprofStop: profiling does not run");
    }
    on_.store(false);
    for (File& file : tasks_) {
        file.reset();
    }
    marks_.reset();
    return ACL_SUCCESS;
}

aclError Profile::finalize() {
    if (on()) {
        stop();
    }
    const std::lock_guard lock(mutex_);
    if (!ready_) {
        return fail(ACL_ERROR_PROF_NOT_RUN, "aclprofFinalize before aclprofInit");
    }
    ready_ = false;
    return ACL_SUCCESS;
}

void Profile::note(const TaskRecord& task) {
    const std::lock_guard lock(mutex_);
    std::FILE* const file = tasks_[task.device].get();
    if (file != nullptr) {
        std::fprintf(file, "%" PRId64 "\t%u\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%u\t%u\t%s\t%s\n", task.launched_ns,
                     task.thread, task.started_ns, task.ended_ns, task.device_ns, task.stream, task.blocks, task.type,
                     task.name);
    }
}

void Profile::note(const MarkRecord& mark) {
    const std::lock_guard lock(mutex_);
    if (marks_ != nullptr) {
        std::fprintf(marks_.get(), "%" PRId64 "\t%" PRId64 "\t%d\t%u\t%s\t%s\n", mark.started_ns, mark.ended_ns,
                     mark.device, mark.row, one_field(mark.domain).c_str(), one_field(mark.message).c_str());
    }
}

}  // namespace softnpu
