// SPDX-License-Identifier: Apache-2.0
#include "runtime/options.h"

#include <cstdlib>

namespace softnpu {
namespace {

std::string variable(const char* name, const char* fallback) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : fallback;
}

bool choice(const char* name, const char* off, const char* on, bool* out, std::string* error) {
    const std::string value = variable(name, off);
    if (value != off && value != on) {
        *error = std::string(name) + "=" + value + ": must be " + off + " or " + on;
        return false;
    }
    *out = value == on;
    return true;
}

bool number(const char* name, const char* fallback, double low, double high, double* out, std::string* error) {
    const std::string value = variable(name, fallback);
    char* end = nullptr;
    *out = std::strtod(value.c_str(), &end);
    if (end == value.c_str() || *end != '\0' || !(*out >= low && *out <= high)) {
        *error = std::string(name) + "=" + value + ": must be a number from " + std::to_string(low) + " to " +
                 std::to_string(high);
        return false;
    }
    return true;
}

}  // namespace

bool read_options(Options* options, std::string* error) {
    const std::string soc = variable("FLEXNPU_SOFTNPU_SOC", "Ascend910B2");
    options->soc = find_soc(soc);
    if (options->soc == nullptr) {
        *error = "FLEXNPU_SOFTNPU_SOC=" + soc + ": unknown, must be one of";
        for (const Soc& known : all_socs()) {
            *error += std::string(" ") + known.name;
        }
        return false;
    }
    double devices = 1;
    if (!number("FLEXNPU_SOFTNPU_DEVICES", "1", 1, 16, &devices, error) ||
        !number("FLEXNPU_SOFTNPU_SCALE", "1", 1e-6, 1e6, &options->scale, error) ||
        !choice("FLEXNPU_SOFTNPU_CLOCK", "free", "paced", &options->paced, error) ||
        !choice("FLEXNPU_SOFTNPU_MATH", "exact", "skip", &options->skip_math, error)) {
        return false;
    }
    options->devices = static_cast<uint32_t>(devices);
    options->state_dir = variable("FLEXNPU_SOFTNPU_STATE", "");
    return true;
}

}  // namespace softnpu
