// SPDX-License-Identifier: Apache-2.0
// libruntime.so of the null device: every function of the table under its Impl name, and the launches of the layer
// below. Each does nothing and says that all is well. Weak, so that device.cc can say more.
#include "flexnpu_abi/acl_op.h"
#include "flexnpu_abi/acl_rt.h"

#define NULL_runtime(ret, name, params) \
    extern "C" ACL_API __attribute__((weak)) ret name##Impl params { return ret(); }
#define NULL_below(ret, name, params) \
    extern "C" ACL_API __attribute__((weak)) ret name params { return ret(); }
#define NULL_ascendcl(ret, name, params)
#define NULL_compiler NULL_ascendcl
#define NULL_platform NULL_ascendcl
#define NULL_opapi NULL_ascendcl
#define NULL_hccl NULL_ascendcl

#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) NULL_##library(ret, name, params)
#define FLEXNPU_FORWARD(name, ...) \
    extern "C" ACL_API int name() { return 0; }
#include "functions.def"
