// SPDX-License-Identifier: Apache-2.0
//
// Every operator that torch_npu may ask for exists here as a weak symbol that fails and names itself. A binding
// elsewhere in this library is the strong symbol and takes its place.
#include <flexnpu_abi/aclnn.h>

#include "ops/errors.h"
#include "runtime/status.h"

// Phase one has a signature of its own for each operator; one that reads no argument serves them all.
#define FLEXNPU_ACLNN(name, words, reals)                                                                      \
    extern "C" __attribute__((weak, visibility("default"))) int name##GetWorkspaceSize() {                     \
        return softnpu::fail(ACLNN_ERR_INNER_FIND_KERNEL_ERROR, "%s is not bound in the software NPU", #name); \
    }                                                                                                          \
    extern "C" __attribute__((weak, visibility("default"))) int name() {                                       \
        return softnpu::fail(ACLNN_ERR_INNER_FIND_KERNEL_ERROR, "%s is not bound in the software NPU", #name); \
    }
#include "aclnn.def"
#undef FLEXNPU_ACLNN
