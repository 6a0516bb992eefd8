// SPDX-License-Identifier: Apache-2.0
// libascendcl.so of the null device: the public names of the table, thin over the layer below, as CANN is since 8.5.
// Weak, so that public.cc can say more.
#include "flexnpu_abi/acl_op.h"
#include "flexnpu_abi/acl_rt.h"

#define NULL_runtime(ret, name, params, args) \
    extern "C" ret name##Impl params;         \
    extern "C" ACL_API __attribute__((weak)) ret name params { return name##Impl args; }
#define NULL_ascendcl(ret, name, params, args) \
    extern "C" ACL_API __attribute__((weak)) ret name params { return ret(); }
#define NULL_compiler NULL_ascendcl
#define NULL_platform(ret, name, params, args)
#define NULL_opapi NULL_platform
#define NULL_below NULL_platform
#define NULL_hccl NULL_platform

#define FLEXNPU_FUNCTION(ret, name, params, args, library, stream) NULL_##library(ret, name, params, args)
#include "functions.def"
