// SPDX-License-Identifier: Apache-2.0
//
// A fuzz target is LLVMFuzzerTestOneInput, as libFuzzer wants it, with some inputs to begin with; driver.cc runs it
// without libFuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
std::vector<std::string> fuzz_seeds();

// What has to hold whatever the input is.
#define FUZZ_CHECK(condition)                                                            \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                \
        }                                                                                \
    } while (false)

// Takes an input apart; zeros after its end.
class Script {
  public:
    Script(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
    bool over() const { return at_ == end_; }
    uint8_t byte() { return at_ == end_ ? uint8_t{0} : *at_++; }
    uint32_t below(uint32_t bound) { return byte() % bound; }
    uint64_t word() {
        uint64_t value = 0;
        for (int i = 0; i < 8; ++i) value |= uint64_t{byte()} << (8 * i);
        return value;
    }

  private:
    const uint8_t* at_;
    const uint8_t* end_;
};
