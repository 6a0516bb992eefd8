// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

#include <flexnpu_abi/acl_rt.h>

#include <algorithm>

namespace softnpu {

at::ScalarType scalar_type(aclDataType dtype) {
    switch (dtype) {
        case ACL_FLOAT:
            return at::kFloat;
        case ACL_FLOAT16:
            return at::kHalf;
        case ACL_BF16:
            return at::kBFloat16;
        case ACL_DOUBLE:
            return at::kDouble;
        case ACL_INT8:
            return at::kChar;
        case ACL_UINT8:
            return at::kByte;
        case ACL_INT16:
            return at::kShort;
        case ACL_UINT16:
            return at::kUInt16;
        case ACL_INT32:
            return at::kInt;
        case ACL_UINT32:
            return at::kUInt32;
        case ACL_INT64:
            return at::kLong;
        case ACL_UINT64:
            return at::kUInt64;
        case ACL_BOOL:
            return at::kBool;
        case ACL_COMPLEX32:
            return at::kComplexHalf;
        case ACL_COMPLEX64:
            return at::kComplexFloat;
        case ACL_COMPLEX128:
            return at::kComplexDouble;
        case ACL_FLOAT8_E5M2:
            return at::kFloat8_e5m2;
        case ACL_FLOAT8_E4M3FN:
            return at::kFloat8_e4m3fn;
        default:
            TORCH_CHECK(false, "data type ", static_cast<int>(dtype), " is not known to the software NPU");
    }
}

at::Tensor wide(const at::Tensor& x) {
    const bool narrow = x.defined() && (x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16);
    return narrow ? x.to(at::kFloat) : x;
}

void put(const at::Tensor& out, const at::Tensor& value) {
    if (out.defined() && value.defined() && out.numel() == value.numel()) {
        out.copy_(value.reshape(out.sizes()));
    }
}

at::Tensor pack_bits(const at::Tensor& kept, int64_t bytes) {
    at::Tensor bits = at::zeros({bytes * 8}, at::kInt);
    bits.slice(0, 0, kept.numel()).copy_(kept.reshape(-1));
    return at::bitwise_left_shift(bits.reshape({bytes, 8}), at::arange(8, at::kInt)).sum(1).to(at::kByte);
}

at::Tensor unpack_bits(const at::Tensor& mask, int64_t count) {
    const at::Tensor bytes = mask.reshape({-1, 1}).to(at::kInt);
    const at::Tensor bits = at::bitwise_right_shift(bytes, at::arange(8, at::kInt)).bitwise_and(1);
    return bits.reshape(-1).slice(0, 0, count);
}

namespace {

at::Scalar to_scalar(const aclScalar& value) {
    switch (value.dtype) {
        case ACL_FLOAT:
        case ACL_FLOAT16:
        case ACL_BF16:
        case ACL_DOUBLE:
            return value.real;
        case ACL_BOOL:
            return value.integer != 0;
        case ACL_COMPLEX64:
        case ACL_COMPLEX128:
            return c10::complex<double>(value.parts[0], value.parts[1]);
        default:
            return value.integer;
    }
}

// An operator reads and writes device memory and pinned host memory, nothing else.
bool reachable(const void* address) {
    aclrtPtrAttributes attributes{};
    return aclrtPointerGetAttributes(address, &attributes) == ACL_SUCCESS &&
           attributes.location.type != ACL_MEM_LOCATION_TYPE_UNREGISTERED;
}

}  // namespace

at::Tensor Arguments::view(int32_t index) const {
    const aclTensor& tensor = executor_.plan->tensors[index];
    const auto item = static_cast<int64_t>(element_size(tensor.dtype));
    auto* data = static_cast<char*>(executor_.addresses[index]) + tensor.offset * item;
    int64_t last = 0;  // the farthest element
    bool empty = false;
    for (uint64_t i = 0; i < tensor.dims; ++i) {
        empty = empty || tensor.sizes[i] == 0;
        last += (tensor.sizes[i] - 1) * tensor.strides[i];
    }
    TORCH_CHECK(empty || tensor.on_host || (reachable(data) && reachable(data + (last + 1) * item - 1)), "tensor ",
                index, " (", (last + 1) * item, " bytes at ", static_cast<void*>(data),
                ") is not in device memory of this process, or is freed");
    return at::from_blob(data, {tensor.sizes, tensor.dims}, {tensor.strides, tensor.dims},
                         at::dtype(scalar_type(tensor.dtype)));
}

void Sized::set(const at::Tensor& value) {
    TORCH_CHECK(value.numel() <= room_.numel(), "a result of ", value.numel(), " elements in a tensor of ",
                room_.numel());
    at::from_blob(room_.data_ptr(), value.sizes(), room_.options()).copy_(value);
    sizes_.dims = static_cast<uint32_t>(value.dim());
    std::copy(value.sizes().begin(), value.sizes().end(), sizes_.sizes);
    sizes_.known.store(true, std::memory_order_release);
}

at::Tensor Arguments::tensor() {
    const int32_t index = std::get<TensorSlot>(next()).index;
    return index >= 0 ? view(index) : at::Tensor();
}

Sized Arguments::sized() {
    const int32_t index = std::get<TensorSlot>(next()).index;
    TORCH_CHECK(index >= 0, "the result is null");
    return {view(index), *executor_.plan->tensors[index].run_sizes};
}

std::vector<at::Tensor> Arguments::tensors() {
    const auto slot = std::get<TensorListSlot>(next());
    std::vector<at::Tensor> all;
    all.reserve(slot.count);
    for (int32_t i = 0; i < slot.count; ++i) {
        all.push_back(view(slot.first + i));
    }
    return all;
}

at::Scalar Arguments::scalar() {
    const auto* value = std::get_if<aclScalar>(&next());
    TORCH_CHECK(value != nullptr, "a scalar argument is null");
    return to_scalar(*value);
}

std::optional<at::Scalar> Arguments::maybe_scalar() {
    const auto* value = std::get_if<aclScalar>(&next());
    return value != nullptr ? std::optional(to_scalar(*value)) : std::nullopt;
}

std::vector<at::Scalar> Arguments::scalars() {
    std::vector<at::Scalar> all;
    for (const aclScalar& value : std::get<std::vector<aclScalar>>(next())) {
        all.push_back(to_scalar(value));
    }
    return all;
}

std::vector<int64_t> Arguments::integers() {
    const auto* values = std::get_if<std::vector<int64_t>>(&next());
    return values != nullptr ? *values : std::vector<int64_t>();
}

std::vector<double> Arguments::floats() {
    const auto* values = std::get_if<std::vector<float>>(&next());
    return values != nullptr ? std::vector<double>(values->begin(), values->end()) : std::vector<double>();
}

std::vector<uint8_t> Arguments::bools() {
    const auto* values = std::get_if<std::vector<uint8_t>>(&next());
    return values != nullptr ? *values : std::vector<uint8_t>();
}

int64_t Arguments::integer() { return std::get<int64_t>(next()); }

double Arguments::real() { return std::get<double>(next()); }

std::string Arguments::text() { return std::get<std::string>(next()); }

}  // namespace softnpu
