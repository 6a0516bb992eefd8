// SPDX-License-Identifier: Apache-2.0
//
// The software NPU as one process sees it: its devices, and which of them a thread has chosen.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "runtime/device_state.h"
#include "runtime/options.h"

namespace softnpu {

// What an aclrtContext points to. One per device (the primary context) and any that a program makes.
struct Context {
    uint32_t device;
    bool primary;
};

class Process {
  public:
    // Lives until the process ends: worker threads may still run when static destructors do.
    static Process& get();

    // Reads the environment; the error is kept and returned by every later call too.
    aclError ready();
    const Options& options() const { return options_; }

    // Opens the device on first use. nullptr with the thread's error set when that fails.
    DeviceState* device(uint32_t index);
    DeviceState* opened(uint32_t index) const;  // nullptr when not open
    aclError choose(uint32_t index);            // aclrtSetDevice for this thread
    void choose(Context* context);
    Context* current();                                 // nullptr before any choice
    DeviceState* current_device();                      // sets the thread's error when there is none
    DeviceState* device_of(const void* address) const;  // the open device whose memory it is; nullptr: none's
    AddressSpace& addresses() { return addresses_; }
    Ranges& pinned() { return pinned_; }  // host memory that devices may reach
    const Ranges& pinned() const { return pinned_; }
    PageFile& event_pages() { return event_pages_; }  // of the events that other processes can open
    Stream* resolve(aclrtStream stream);              // nullptr stream: the current device's default stream
    aclError close(uint32_t index);                   // aclrtResetDevice

    // How long a stream waits for an event, ms; < 0: for ever (aclrtSetOpWaitTimeout).
    std::atomic<int32_t> wait_timeout_ms{-1};

  private:
    mutable std::mutex mutex_;
    bool read_ = false;
    std::string problem_;
    Options options_;
    AddressSpace addresses_;
    Ranges pinned_;
    PageFile event_pages_;
    std::array<std::unique_ptr<DeviceState>, 16> devices_;
    std::array<Context, 16> primary_{};
};

}  // namespace softnpu
