// SPDX-License-Identifier: Apache-2.0
// Kernel launches, by the public names, their Impl names, and the layer below for those who call it directly.
#include "entries/stubs.h"
#include "entries/wrap.h"

namespace flexnpu {
namespace {

constexpr auto on_kernel = [](auto real, auto... arguments) {
    here().gate.pass(FLEXNPU_LAUNCH_KERNEL);
    return real(arguments...);
};

int refuse_launch() { return kRefused; }
int miss_launch() { return ACL_ERROR_API_NOT_SUPPORT; }

}  // namespace

#define FLEXNPU_KERNEL(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_kernel)
#include "functions.def"

}  // namespace flexnpu

// Gives where the call goes on. Below a launch that was counted already, nothing is counted.
extern "C" void* flexnpu_forward_begin(uint32_t index) {
    using namespace flexnpu;
    void* real = real_function(first_forward + index);
    if (real == nullptr) {
        tell_missing(first_forward + index);
        return reinterpret_cast<void*>(&miss_launch);
    }
    if (within(Guard::launch)) return real;
    if (!attached()) return reinterpret_cast<void*>(&refuse_launch);
    here().gate.pass(FLEXNPU_LAUNCH_KERNEL);
    return real;
}
