// SPDX-License-Identifier: Apache-2.0
//
// What a profiler writes down, whatever the host's threads are put off by.
#include "runtime/profile.h"

#include <flexnpu_abi/acl_prof.h>
#include <flexnpu_abi/acl_rt.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

extern "C" {
uint64_t mstxRangeStartA(const char* message, aclrtStream stream);
void mstxRangeEnd(uint64_t id);
}

namespace {

namespace files = std::filesystem;

struct Span {
    int64_t started, ended;
};

class Profiled : public ::testing::Test {
  protected:
    Profiled() {
        char name[] = "/tmp/softnpu-prof-XXXXXX";
        directory_ = mkdtemp(name);
        EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
        EXPECT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
        EXPECT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
        EXPECT_EQ(aclrtMalloc(&block_, kBytes, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
        uint32_t device = 0;
        config_ = aclprofCreateConfig(&device, 1, ACL_AICORE_NONE, nullptr, 0);
        EXPECT_EQ(aclprofInit(directory_.c_str(), directory_.size()), ACL_SUCCESS);
        EXPECT_EQ(aclprofStart(config_), ACL_SUCCESS);
    }
    ~Profiled() override {
        EXPECT_EQ(aclprofFinalize(), ACL_SUCCESS);
        aclprofDestroyConfig(config_);
        aclrtFree(block_);
        aclrtDestroyStream(stream_);
        EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
        files::remove_all(directory_);
    }

    void fill() { ASSERT_EQ(aclrtMemsetAsync(block_, kBytes, 0, kBytes, stream_), ACL_SUCCESS); }

    // The fields of each line of a file that was written, once all is over.
    std::vector<std::vector<std::string>> written(const std::string& name) {
        std::vector<std::vector<std::string>> lines;
        for (const auto& entry : files::recursive_directory_iterator(directory_)) {
            if (entry.path().filename() != name) {
                continue;
            }
            std::ifstream file(entry.path());
            for (std::string line; std::getline(file, line);) {
                std::vector<std::string>& fields = lines.emplace_back();
                for (size_t from = 0, to = 0; to != std::string::npos; from = to + 1) {
                    to = line.find('\t', from);
                    fields.push_back(line.substr(from, to - from));
                }
            }
        }
        return lines;
    }
    std::vector<Span> tasks(const std::string& type) {
        std::vector<Span> found;
        for (const auto& fields : written("tasks.tsv")) {
            EXPECT_LE(std::stoll(fields[0]), std::stoll(fields[2])) << "it began before it was launched";
            if (fields[7] == type) {
                found.push_back({std::stoll(fields[2]), std::stoll(fields[3])});
            }
        }
        return found;
    }
    Span mark_on_device() {
        for (const auto& fields : written("marks.tsv")) {
            if (fields[2] == "0") {
                return {std::stoll(fields[0]), std::stoll(fields[1])};
            }
        }
        return {};
    }

    static constexpr size_t kBytes = 1 << 20;
    std::string directory_;
    aclrtStream stream_ = nullptr;
    void* block_ = nullptr;
    aclprofConfig* config_ = nullptr;
};

void be_late(void*) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

TEST_F(Profiled, a_range_on_the_device_is_around_its_work_though_the_streams_thread_comes_late) {
    ASSERT_EQ(aclrtLaunchHostFunc(stream_, be_late, nullptr), ACL_SUCCESS);
    const uint64_t range = mstxRangeStartA("range", stream_);
    for (int i = 0; i < 100; ++i) {
        fill();
    }
    mstxRangeEnd(range);
    ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
    ASSERT_EQ(aclprofStop(config_), ACL_SUCCESS);
    const Span range_on_device = mark_on_device();
    const std::vector<Span> work = tasks("MEMSET_ASYNC");
    ASSERT_EQ(work.size(), 100u);
    int64_t before = range_on_device.started;
    for (const Span& each : work) {
        EXPECT_LE(before, each.started);
        EXPECT_LE(each.started, each.ended);
        before = each.ended;
    }
    EXPECT_LE(before, range_on_device.ended);
}

// The clocks are 1000 apart.
static_assert(softnpu::follow_clocks(1000, 50, 1051, 52) == 1000);
// Put off before, or after, the other clock was read.
static_assert(softnpu::follow_clocks(1000, 50, 9050, 9051) == 1000);
static_assert(softnpu::follow_clocks(1000, 50, 1051, 9051) == 1000);
// They have drifted.
static_assert(softnpu::follow_clocks(1000, 50, 1061, 52) == 1009);
static_assert(softnpu::follow_clocks(1000, 50, 1041, 52) == 991);

}  // namespace
