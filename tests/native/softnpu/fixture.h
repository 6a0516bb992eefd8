// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "device/device.h"

namespace softnpu::test {

// A directory for a state file that several processes share, gone after the test.
class SharedDevice : public ::testing::Test {
  protected:
    SharedDevice() {
        char name[] = "/tmp/softnpu-test-XXXXXX";
        directory_ = mkdtemp(name);
        options_.soc = find_soc("Ascend910B2");
        options_.state_path = directory_ + "/device0";
    }
    ~SharedDevice() override {
        unlink(options_.state_path.c_str());
        rmdir(directory_.c_str());
    }
    std::unique_ptr<Device> open() {
        std::string error;
        auto device = Device::open(options_, &error);
        EXPECT_NE(device, nullptr) << error;
        return device;
    }

    std::string directory_;
    DeviceOptions options_;
};

// A task that computes for `seconds` on the whole device.
inline Cost cube_task(double seconds) {
    const Soc& soc = *find_soc("Ascend910B2");
    Cost cost{};
    cost.unit = Unit::cube;
    cost.cube_rate = 1.0;
    cost.cube_flops = seconds * soc.cube_flops_per_s * 0.77;
    return cost;
}

// A task that moves memory for `seconds` on the whole device.
inline Cost memory_task(double seconds) {
    Cost cost{};
    cost.unit = Unit::vector;
    cost.cube_rate = 1.0;
    cost.hbm_bytes = seconds * total_bandwidth(*find_soc("Ascend910B2"));
    return cost;
}

}  // namespace softnpu::test
