// SPDX-License-Identifier: Apache-2.0
// libascendcl.so of the null device: public names beyond the table, and what is answered above the runtime.
#include "null/device.h"

#define NULL_PUBLIC(name, params, args) \
    extern "C" ACL_API aclError name params { return name##Impl args; }
NULL_EXTRA(NULL_PUBLIC)

extern "C" ACL_API aclError aclFinalize() { return ACL_SUCCESS; }

extern "C" ACL_API aclError aclGetDeviceCapability(uint32_t, aclDeviceInfo info, int64_t* value) {
    *value = info == ACL_DEVICE_INFO_AI_CORE_NUM ? kNullCube : kNullVector;
    return ACL_SUCCESS;
}
