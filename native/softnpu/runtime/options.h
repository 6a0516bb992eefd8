// SPDX-License-Identifier: Apache-2.0
//
// What the environment says of the software NPU (FLEXNPU_SOFTNPU_*), read once.
#pragma once

#include <cstdint>
#include <string>

#include "soc/soc.h"

namespace softnpu {

struct Options {
    const Soc* soc = nullptr;
    uint32_t devices = 1;
    bool paced = false;
    bool skip_math = false;
    double scale = 1.0;
    std::string state_dir;  // empty: private to this process
};

// Fills `options`; false with one line in `error` that names variable, value and range.
bool read_options(Options* options, std::string* error);

}  // namespace softnpu
