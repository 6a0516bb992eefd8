// SPDX-License-Identifier: Apache-2.0
#include "entries/arguments.h"

#include <dlfcn.h>
#include <string.h>

#include "entries/wrap.h"
#include "lock.h"

namespace flexnpu {
namespace {

using GetViewShape = decltype(&::aclGetViewShape);
using DeleteArray = void (*)(void*);

constinit std::atomic<void*> get_view_shape, delete_array;

// Bound as the library that allocates binds it: the global scope first, then its own dependencies.
void* find_delete_array() {
    void* found = dlsym(RTLD_DEFAULT, "_ZdaPv");
    return found != nullptr ? found : find_real(Library::opapi, "_ZdaPv");
}

template <typename Find>
void* once(std::atomic<void*>& cache, Find find) {
    void* found = cache.load(std::memory_order_acquire);
    if (__builtin_expect(found == nullptr, false)) cache.store(found = find(), std::memory_order_release);
    return found;
}

// What was made lately, by address: sets of four, where the oldest gives way. An address that is used again is
// overwritten by whoever made it again.
template <typename Entry>
class Recent {
  public:
    Entry& place(const void* key) {
        Entry* set = set_of(key);
        Entry* chosen = set;
        for (uint32_t i = 0; i < kWays; ++i) {
            if (set[i].key == key) chosen = &set[i];
            if (chosen->key != key && set[i].made < chosen->made) chosen = &set[i];
        }
        chosen->key = key;
        chosen->made = ++made_;
        return *chosen;
    }
    const Entry* find(const void* key) {
        const Entry* set = set_of(key);
        for (uint32_t i = 0; i < kWays; ++i) {
            if (set[i].key == key) return &set[i];
        }
        return nullptr;
    }

  private:
    static constexpr uint32_t kWays = 4;
    static constexpr uint32_t kSets = 16;
    Entry* set_of(const void* key) {
        const uint64_t hash = (reinterpret_cast<uint64_t>(key) >> 4) * 0x9e3779b97f4a7c15ull;
        return &entries_[(hash >> 60) * kWays];
    }
    Entry entries_[kSets * kWays] = {};
    uint64_t made_ = 0;
};

struct Array {
    const void* key;
    uint64_t made;
    uint32_t count;
    int32_t at[kMostValues];
};
struct List {
    const void* key;
    uint64_t made;
    const aclTensor* first;
};

constinit Lock guard;
constinit Recent<Array> arrays{};
constinit Recent<List> lists{};

int32_t narrow(int64_t value) { return value < 0 || value > INT32_MAX ? 0 : static_cast<int32_t>(value); }

void remember(const aclIntArray* array, const int64_t* values, uint64_t size) {
    if (array == nullptr || values == nullptr) return;
    const Held held(guard);
    Array& into = arrays.place(array);
    into.count = static_cast<uint32_t>(size < kMostValues ? size : kMostValues);
    for (uint32_t i = 0; i < into.count; ++i) into.at[i] = narrow(values[i]);
}

aclIntArray* on_aclCreateIntArray(decltype(&::aclCreateIntArray) real, const int64_t* value, uint64_t size) {
    aclIntArray* array = real(value, size);
    remember(array, value, size);
    return array;
}

aclTensorList* on_aclCreateTensorList(decltype(&::aclCreateTensorList) real, const aclTensor* const* value,
                                      uint64_t size) {
    aclTensorList* list = real(value, size);
    if (list != nullptr && value != nullptr && size > 0) {
        const Held held(guard);
        lists.place(list).first = value[0];
    }
    return list;
}

}  // namespace

bool shape_of(const aclTensor* tensor, Shape* shape) {
    const auto ask = reinterpret_cast<GetViewShape>(
        once(get_view_shape, [] { return find_real(Library::opapi, "aclGetViewShape"); }));
    const auto free_array = reinterpret_cast<DeleteArray>(once(delete_array, find_delete_array));
    int64_t* dims = nullptr;
    uint64_t count = 0;
    if (tensor == nullptr || ask == nullptr || free_array == nullptr) return false;
    if (ask(tensor, &dims, &count) != ACL_SUCCESS || dims == nullptr) return false;
    const bool fits = count <= sizeof shape->dims / sizeof *dims;
    shape->count = fits ? static_cast<uint32_t>(count) : 0;
    memcpy(shape->dims, dims, shape->count * sizeof *dims);
    free_array(dims);
    return fits;
}

const aclTensor* first_of(const aclTensorList* list) {
    const Held held(guard);
    const List* found = lists.find(list);
    return found != nullptr ? found->first : nullptr;
}

void values_of(const aclIntArray* array, Values* values) {
    values->count = 0;
    if (array == nullptr) return;
    const Held held(guard);
    const Array* found = arrays.find(array);
    if (found == nullptr) return;
    values->count = found->count;
    memcpy(values->at, found->at, values->count * sizeof *values->at);
}

void forget_arguments_in_child() { guard.release(); }

}  // namespace flexnpu

// Made by any thread, also before the device is needed: nothing is asked of the vNPU.
#define FLEXNPU_OBSERVE(ret, name, params, args, library, stream)                          \
    extern "C" ACL_API ret name params {                                                   \
        using namespace flexnpu;                                                           \
        const auto real = reinterpret_cast<decltype(&::name)>(real_function(slot_##name)); \
        if (__builtin_expect(real == nullptr, false)) {                                    \
            tell_missing(slot_##name);                                                     \
            return nullptr;                                                                \
        }                                                                                  \
        return Bound{on_##name, real} args;                                                \
    }
#include "functions.def"
