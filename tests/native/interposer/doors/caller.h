// SPDX-License-Identifier: Apache-2.0
// A plugin that calls the device: linked to libascendcl.so as any is, and opened by tests in the ways there are.
#pragma once

#include "nullacl.h"

struct Calls {
    decltype(&aclrtLaunchKernelWithHostArgs) launch;
    aclError (*allocate)(void** block, size_t bytes, aclrtMemMallocPolicy policy);
    aclError (*release)(void* block);
    NullRecord* record;  // of the device that the plugin sees
};

extern "C" {
// Its calls by the words that the linker binds at load or at the first call.
ACL_API Calls caller_direct(void);
// By the words in its data.
ACL_API Calls caller_by_table(void);
// By lookups on a handle of its own.
ACL_API Calls caller_by_lookup(void);
// What its dlopen gives for a bare name, which its own RUNPATH alone leads to.
ACL_API void* caller_opens(const char* name);
}
