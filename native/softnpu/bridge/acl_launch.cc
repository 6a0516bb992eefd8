// SPDX-License-Identifier: Apache-2.0
//
// Kernel launches. A function handle of the software NPU is a softnpu::Kernel (runtime/kernel.h).
#include <flexnpu_abi/acl_rt.h>

#include <cstring>

#include "bridge/check.h"
#include "runtime/kernel.h"

using softnpu::fail;
using softnpu::Kernel;
using softnpu::KernelArgs;
using softnpu::Task;
using softnpu::TaskKind;

extern "C" {

aclError aclrtLaunchKernelWithHostArgs(aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream,
                                       aclrtLaunchKernelCfg* /*cfg*/, void* hostArgs, size_t argsSize,
                                       aclrtPlaceHolderInfo* /*placeHolderArray*/, size_t /*placeHolderNum*/) {
    SOFTNPU_NEED(funcHandle);
    SOFTNPU_NEED(hostArgs);
    SOFTNPU_STREAM(queue, stream);
    const auto* kernel = static_cast<const Kernel*>(funcHandle);
    if (kernel->magic != softnpu::kKernelMagic || argsSize != sizeof(KernelArgs)) {
        return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                    "aclrtLaunchKernelWithHostArgs: %p is no operator of the software NPU; it runs no device binaries",
                    static_cast<void*>(funcHandle));
    }
    if (numBlocks == 0) {
        return fail(ACL_ERROR_RT_PARAM_INVALID, "%s: launched with 0 blocks, must be at least 1", kernel->name);
    }
    Task task{TaskKind::kernel};
    task.kernel = kernel;
    task.blocks = numBlocks;
    std::memcpy(&task.args, hostArgs, sizeof task.args);
    return queue->enqueue(task);
}

aclError aclrtLaunchKernel(aclrtFuncHandle funcHandle, uint32_t numBlocks, const void* argsData, size_t argsSize,
                           aclrtStream stream) {
    return aclrtLaunchKernelWithHostArgs(funcHandle, numBlocks, stream, nullptr, const_cast<void*>(argsData), argsSize,
                                         nullptr, 0);
}

}  // extern "C"
