// SPDX-License-Identifier: Apache-2.0
#include "caller.h"

#include <dlfcn.h>

namespace {

// Not inlined and not by address, so that each call goes through the plugin's own jump word.
aclError launch(aclrtFuncHandle function, uint32_t blocks, aclrtStream stream, aclrtLaunchKernelCfg* cfg, void* args,
                size_t size, aclrtPlaceHolderInfo* places, size_t count) {
    return aclrtLaunchKernelWithHostArgs(function, blocks, stream, cfg, args, size, places, count);
}
aclError allocate(void** block, size_t bytes, aclrtMemMallocPolicy policy) { return aclrtMalloc(block, bytes, policy); }
aclError release(void* block) { return aclrtFree(block); }

const Calls kTable = {&aclrtLaunchKernelWithHostArgs, &aclrtMalloc, &aclrtFree, nullptr};

template <typename Function>
Function look_up(void* handle, const char* name) {
    return reinterpret_cast<Function>(dlsym(handle, name));
}

}  // namespace

extern "C" {
Calls caller_direct() { return {launch, allocate, release, null_record()}; }

Calls caller_by_table() {
    // Read as the compiler cannot foresee, or it would use a jump word instead.
    const volatile Calls& table = kTable;
    return {table.launch, table.allocate, table.release, null_record()};
}

// Not a tail call: dlopen looks at the library that its return address lies in.
__attribute__((optimize("no-optimize-sibling-calls"))) void* caller_opens(const char* name) {
    return dlopen(name, RTLD_NOW);
}

Calls caller_by_lookup() {
    void* handle = dlopen("libascendcl.so", RTLD_LAZY);
    return {look_up<decltype(Calls::launch)>(handle, "aclrtLaunchKernelWithHostArgs"),
            look_up<decltype(Calls::allocate)>(handle, "aclrtMalloc"),
            look_up<decltype(Calls::release)>(handle, "aclrtFree"), null_record()};
}
}
