// SPDX-License-Identifier: Apache-2.0
#include "ops/handles.h"

#include <cstring>

#include "ops/errors.h"
#include "runtime/status.h"

namespace softnpu {

uint32_t element_size(aclDataType dtype) {
    switch (dtype) {
        case ACL_INT8:
        case ACL_UINT8:
        case ACL_BOOL:
        case ACL_FLOAT8_E5M2:
        case ACL_FLOAT8_E4M3FN:
            return 1;
        case ACL_FLOAT16:
        case ACL_BF16:
        case ACL_INT16:
        case ACL_UINT16:
            return 2;
        case ACL_FLOAT:
        case ACL_INT32:
        case ACL_UINT32:
        case ACL_COMPLEX32:
            return 4;
        case ACL_DOUBLE:
        case ACL_INT64:
        case ACL_UINT64:
        case ACL_COMPLEX64:
            return 8;
        case ACL_COMPLEX128:
            return 16;
        default:
            return 0;
    }
}

namespace {

template <typename T>
T read(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

float half_to_float(uint16_t bits) {
    _Float16 value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
}

float bfloat_to_float(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    return read<float>(&wide);
}

}  // namespace
}  // namespace softnpu

using softnpu::fail;
using softnpu::read;

extern "C" {

aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType, const int64_t* stride,
                           int64_t offset, aclFormat format, const int64_t* /*storageDims*/,
                           uint64_t /*storageDimsNum*/, void* tensorData) {
    if (viewDimsNum > kMaxDims) {
        fail(ACLNN_ERR_PARAM_INVALID, "aclCreateTensor: %llu dimensions, at most %u",
             static_cast<unsigned long long>(viewDimsNum), kMaxDims);
        return nullptr;
    }
    auto* tensor = new aclTensor();
    tensor->data = tensorData;
    tensor->offset = offset;
    tensor->dtype = dataType;
    tensor->format = format;
    tensor->dims = static_cast<uint32_t>(viewDimsNum);
    int64_t step = 1;
    for (uint32_t d = tensor->dims; d-- > 0;) {
        tensor->sizes[d] = viewDims[d];
        tensor->strides[d] = stride != nullptr ? stride[d] : step;
        step *= viewDims[d];
    }
    return tensor;
}

aclnnStatus aclDestroyTensor(const aclTensor* tensor) {
    delete tensor;
    return ACL_SUCCESS;
}

aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum) {
    if (tensor == nullptr || viewDims == nullptr || viewDimsNum == nullptr) {
        return fail(ACLNN_ERR_PARAM_NULLPTR, "aclGetViewShape: an argument is null");
    }
    const RunSizes* found = tensor->run_sizes.get();
    const bool known = found != nullptr && found->known.load(std::memory_order_acquire);
    *viewDimsNum = known ? found->dims : tensor->dims;
    *viewDims = new int64_t[*viewDimsNum];  // the caller frees it with delete[], as CANN asks
    std::memcpy(*viewDims, known ? found->sizes : tensor->sizes, *viewDimsNum * sizeof(int64_t));
    return ACL_SUCCESS;
}

aclScalar* aclCreateScalar(void* value, aclDataType dataType) {
    auto* scalar = new aclScalar();
    scalar->dtype = dataType;
    switch (dataType) {
        case ACL_FLOAT:
            scalar->real = read<float>(value);
            break;
        case ACL_FLOAT16:
            scalar->real = softnpu::half_to_float(read<uint16_t>(value));
            break;
        case ACL_BF16:
            scalar->real = softnpu::bfloat_to_float(read<uint16_t>(value));
            break;
        case ACL_DOUBLE:
            scalar->real = read<double>(value);
            break;
        case ACL_INT8:
            scalar->integer = read<int8_t>(value);
            break;
        case ACL_BOOL:
        case ACL_UINT8:
            scalar->integer = read<uint8_t>(value);
            break;
        case ACL_INT16:
            scalar->integer = read<int16_t>(value);
            break;
        case ACL_INT32:
            scalar->integer = read<int32_t>(value);
            break;
        case ACL_UINT32:
            scalar->integer = read<uint32_t>(value);
            break;
        case ACL_INT64:
        case ACL_UINT64:
            scalar->integer = read<int64_t>(value);
            break;
        case ACL_COMPLEX64:
            scalar->parts[0] = read<float>(value);
            scalar->parts[1] = read<float>(static_cast<const char*>(value) + sizeof(float));
            break;
        case ACL_COMPLEX128:
            std::memcpy(scalar->parts, value, sizeof scalar->parts);
            break;
        default:
            fail(ACLNN_ERR_PARAM_INVALID, "aclCreateScalar: data type %d is not known to the software NPU",
                 static_cast<int>(dataType));
            delete scalar;
            return nullptr;
    }
    return scalar;
}

aclnnStatus aclDestroyScalar(const aclScalar* scalar) {
    delete scalar;
    return ACL_SUCCESS;
}

aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size) { return new aclIntArray{{value, value + size}}; }

aclnnStatus aclDestroyIntArray(const aclIntArray* array) {
    delete array;
    return ACL_SUCCESS;
}

aclFloatArray* aclCreateFloatArray(const float* value, uint64_t size) {
    return new aclFloatArray{{value, value + size}};
}

aclnnStatus aclDestroyFloatArray(const aclFloatArray* array) {
    delete array;
    return ACL_SUCCESS;
}

aclBoolArray* aclCreateBoolArray(const bool* value, uint64_t size) { return new aclBoolArray{{value, value + size}}; }

aclnnStatus aclDestroyBoolArray(const aclBoolArray* array) {
    delete array;
    return ACL_SUCCESS;
}

aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size) {
    return new aclTensorList{{value, value + size}};
}

// A list owns its tensors: destroying it destroys them.
aclnnStatus aclDestroyTensorList(const aclTensorList* array) {
    if (array != nullptr) {
        for (const aclTensor* tensor : array->tensors) {
            delete tensor;
        }
        delete array;
    }
    return ACL_SUCCESS;
}

aclScalarList* aclCreateScalarList(const aclScalar* const* value, uint64_t size) {
    return new aclScalarList{{value, value + size}};
}

aclnnStatus aclDestroyScalarList(const aclScalarList* array) {
    if (array != nullptr) {
        for (const aclScalar* scalar : array->scalars) {
            delete scalar;
        }
        delete array;
    }
    return ACL_SUCCESS;
}

}  // extern "C"
