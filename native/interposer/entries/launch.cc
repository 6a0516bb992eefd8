// SPDX-License-Identifier: Apache-2.0
// Kernel launches, by the public names and their Impl names; the layer below is in below.cc.
#include "entries/wrap.h"

namespace flexnpu {
namespace {

constexpr auto on_kernel = [](auto real, auto... arguments) {
    here().gate.pass(FLEXNPU_LAUNCH_KERNEL);
    return real(arguments...);
};

}  // namespace

#define FLEXNPU_KERNEL(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_kernel)
#include "functions.def"

}  // namespace flexnpu
