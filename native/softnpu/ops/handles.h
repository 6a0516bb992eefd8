// SPDX-License-Identifier: Apache-2.0
//
// What the opaque handles of the aclnn interface (aclTensor, aclScalar, the arrays and lists) hold here.
#pragma once

#include <flexnpu_abi/aclnn.h>

#include <atomic>
#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

// A view on device memory. Dimensions beyond kMaxDims are refused when the tensor is made.
constexpr uint32_t kMaxDims = 8;  // CANN's own limit

// The sizes that a run gave a result, where no phase one can know them; read once the stream has been waited for.
struct RunSizes {
    std::atomic<bool> known{false};
    uint32_t dims = 0;
    int64_t sizes[kMaxDims] = {};
};

struct aclTensor {
    void* data = nullptr;  // start of the storage
    int64_t offset = 0;    // of the view, in elements
    aclDataType dtype = ACL_FLOAT;
    aclFormat format = ACL_FORMAT_ND;
    bool on_host = false;  // a constant of a compiled operator, kept with the call
    uint32_t dims = 0;
    int64_t sizes[kMaxDims] = {};
    int64_t strides[kMaxDims] = {};
    mutable std::shared_ptr<RunSizes> run_sizes;  // outlives the handle: a run may come after its destruction

    int64_t numel() const {
        int64_t n = 1;
        for (uint32_t d = 0; d < dims; ++d) {
            n *= sizes[d];
        }
        return n;
    }
};

struct aclScalar {
    aclDataType dtype = ACL_FLOAT;
    union {
        double real;
        int64_t integer;
        double parts[2];  // complex
    };
};

struct aclIntArray {
    std::vector<int64_t> values;
};
struct aclFloatArray {
    std::vector<float> values;
};
struct aclBoolArray {
    std::vector<uint8_t> values;
};
struct aclTensorList {
    std::vector<const aclTensor*> tensors;
};
struct aclScalarList {
    std::vector<const aclScalar*> scalars;
};

namespace softnpu {

// Bytes of one element; 0 for a type that the software NPU does not know.
uint32_t element_size(aclDataType dtype);

}  // namespace softnpu
