// SPDX-License-Identifier: Apache-2.0
// What the phase detector is fed with, as lines of a file, when FLEXNPU_PHASE_RECORD names one: for tests of the
// detector, and for reports of steps that it got wrong. tests/native/interposer/stream.h reads them.
#pragma once

#include <stdint.h>

namespace flexnpu {

class Recorder {
  public:
    // Opens the file of the variable, if it is set. Once.
    void open();
    bool on() const { return __builtin_expect(file_ >= 0, false); }
    void line(const char* format, ...) const __attribute__((format(printf, 2, 3)));

  private:
    int file_ = -1;
};

// "16/144*3 1/17": tokens and context of sequences, as often as they follow each other.
class Sequences {
  public:
    void add(uint32_t tokens, uint32_t context, uint32_t times);
    const char* text();

  private:
    void put();
    char text_[8192];
    uint32_t used_ = 0, tokens_ = 0, context_ = 0, times_ = 0;
};

}  // namespace flexnpu
