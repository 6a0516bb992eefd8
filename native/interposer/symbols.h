// SPDX-License-Identifier: Apache-2.0
// A function of the C library by its name, found in the library's own symbol table. libflexnpu.so defines dlsym itself
// and so has no other way to the real one.
#pragma once

namespace flexnpu {

// Null when no loaded object whose file name begins with `object` defines the name.
void* find_in_object(const char* object, const char* name);

// Whether the address lies in libflexnpu.so.
bool is_ours(const void* address);

}  // namespace flexnpu
