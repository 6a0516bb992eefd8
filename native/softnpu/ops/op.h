// SPDX-License-Identifier: Apache-2.0
//
// Binding an operator is one line, or a few:
//
//     OP(aclnnAdd, In(self), In(other), Num(alpha), Out(out)) { at::add_out(out, self, other, alpha); }
//
// The list is the C signature of aclnnAddGetWorkspaceSize without its last two parameters. The macro makes both phases;
// the body runs on the stream's worker, with ATen tensors over device memory, when math is exact. OP_COST names what
// the call costs in device time, OP_CHECKED also what phase one refuses.
//
//     In / Out    aclTensor*      at::Tensor, undefined when an optional one was not given
//     Sized       aclTensor*      a result whose size the body decides; the tensor given has room for the largest
//     List        aclTensorList*  std::vector<at::Tensor>
//     Num         aclScalar*      at::Scalar          MaybeNum: std::optional<at::Scalar>
//     Nums        aclScalarList*  std::vector<at::Scalar>
//     Ints        aclIntArray*    std::vector<int64_t>   (empty when not given)
//     Bools, Floats likewise      Int int64_t, I32 int32_t, I8 int8_t, U64 uint64_t, Flag bool, F64 double, F32 float,
//     Text char*, Type        aclDataType     at::ScalarType
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ops/check.h"
#include "ops/cost.h"
#include "ops/plan.h"

namespace softnpu {

at::ScalarType scalar_type(aclDataType dtype);

// fp16 and bf16 as fp32, in which the device computes too; other types, and tensors not given, as they are.
at::Tensor wide(const at::Tensor& x);
// Copies where the program asked for the result: an optional output may be undefined, or of no elements.
void put(const at::Tensor& out, const at::Tensor& value);
// Dropout's mask has a bit for each element, the lowest of a byte first: 1 where the element is kept.
at::Tensor pack_bits(const at::Tensor& kept, int64_t bytes);
at::Tensor unpack_bits(const at::Tensor& mask, int64_t count);  // one dimension, int32
// Numbers that a seed and an offset give again.
at::Generator generator(int64_t seed, int64_t offset);
// A dropout mask of `count` bits, of which about that share is kept.
void draw_mask(int64_t count, double share, const at::Generator& random, const at::Tensor& mask);
// ATen's word for "not given".
inline std::optional<at::Tensor> maybe(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }

// A result whose size is known only when the operator has run; aclGetViewShape tells it afterwards.
class Sized {
  public:
    Sized(at::Tensor room, RunSizes& sizes) : room_(std::move(room)), sizes_(sizes) {}
    void set(const at::Tensor& value);

  private:
    at::Tensor room_;
    RunSizes& sizes_;
};

// Gives the arguments of a call back in their order, as ATen knows them.
class Arguments {
  public:
    explicit Arguments(const aclOpExecutor& executor) : executor_(executor) {}
    at::Tensor tensor();
    std::vector<at::Tensor> tensors();
    Sized sized();
    at::Scalar scalar();
    std::optional<at::Scalar> maybe_scalar();
    std::vector<at::Scalar> scalars();
    std::vector<int64_t> integers();
    std::vector<double> floats();
    std::vector<uint8_t> bools();
    int64_t integer();
    double real();
    std::string text();

    at::Tensor view(int32_t index) const;  // of the plan's tensors

  private:
    const Argument& next() { return executor_.plan->arguments[next_++]; }

    const aclOpExecutor& executor_;
    size_t next_ = 0;
};

}  // namespace softnpu

// A macro over each element of a list of up to 120.
#define SN_PARENS ()
#define SN_EXPAND(...) SN_EXPAND4(SN_EXPAND4(SN_EXPAND4(__VA_ARGS__)))
#define SN_EXPAND4(...) SN_EXPAND3(SN_EXPAND3(SN_EXPAND3(__VA_ARGS__)))
#define SN_EXPAND3(...) SN_EXPAND2(SN_EXPAND2(SN_EXPAND2(__VA_ARGS__)))
#define SN_EXPAND2(...) SN_EXPAND1(SN_EXPAND1(SN_EXPAND1(__VA_ARGS__)))
#define SN_EXPAND1(...) __VA_ARGS__
#define SN_EACH(macro, ...) __VA_OPT__(SN_EXPAND(SN_EACH_STEP(macro, __VA_ARGS__)))
#define SN_EACH_STEP(macro, first, ...) macro##first __VA_OPT__(SN_EACH_AGAIN SN_PARENS(macro, __VA_ARGS__))
#define SN_EACH_AGAIN() SN_EACH_STEP
#define SN_LIST(macro, ...) __VA_OPT__(SN_EXPAND(SN_LIST_STEP(macro, __VA_ARGS__)))
#define SN_LIST_STEP(macro, first, ...) macro##first __VA_OPT__(, SN_LIST_AGAIN SN_PARENS(macro, __VA_ARGS__))
#define SN_LIST_AGAIN() SN_LIST_STEP

// As C sees the parameter.
#define SN_ABI_In(x) const aclTensor* x
#define SN_ABI_Out(x) const aclTensor* x
#define SN_ABI_Sized(x) const aclTensor* x
#define SN_ABI_List(x) const aclTensorList* x
#define SN_ABI_Num(x) const aclScalar* x
#define SN_ABI_MaybeNum(x) const aclScalar* x
#define SN_ABI_Nums(x) const aclScalarList* x
#define SN_ABI_Ints(x) const aclIntArray* x
#define SN_ABI_Floats(x) const aclFloatArray* x
#define SN_ABI_Bools(x) const aclBoolArray* x
#define SN_ABI_Int(x) int64_t x
#define SN_ABI_I32(x) int32_t x
#define SN_ABI_I8(x) int8_t x
#define SN_ABI_U64(x) uint64_t x
#define SN_ABI_Flag(x) bool x
#define SN_ABI_F64(x) double x
#define SN_ABI_F32(x) float x
#define SN_ABI_Text(x) const char* x
#define SN_ABI_Type(x) aclDataType x

// How phase one keeps it.
#define SN_KEEP_In(x) builder.tensor(x);
#define SN_KEEP_Out(x) builder.result(x);
#define SN_KEEP_Sized(x) builder.sized(x);
#define SN_KEEP_List(x) builder.tensors(x);
#define SN_KEEP_Num(x) builder.scalar(x);
#define SN_KEEP_MaybeNum(x) builder.scalar(x);
#define SN_KEEP_Nums(x) builder.scalars(x);
#define SN_KEEP_Ints(x) builder.integers(x);
#define SN_KEEP_Floats(x) builder.floats(x);
#define SN_KEEP_Bools(x) builder.bools(x);
#define SN_KEEP_Int(x) builder.integer(x);
#define SN_KEEP_I32(x) builder.integer(x);
#define SN_KEEP_I8(x) builder.integer(x);
#define SN_KEEP_U64(x) builder.integer(static_cast<int64_t>(x));
#define SN_KEEP_Flag(x) builder.integer(x);
#define SN_KEEP_F64(x) builder.real(x);
#define SN_KEEP_F32(x) builder.real(x);
#define SN_KEEP_Text(x) builder.text(x);
#define SN_KEEP_Type(x) builder.integer(x);

// How the body gets it.
#define SN_TAKE_In(x) const at::Tensor x = arguments.tensor();
#define SN_TAKE_Out(x) at::Tensor x = arguments.tensor();
#define SN_TAKE_Sized(x) softnpu::Sized x = arguments.sized();
#define SN_TAKE_List(x) const std::vector<at::Tensor> x = arguments.tensors();
#define SN_TAKE_Num(x) const at::Scalar x = arguments.scalar();
#define SN_TAKE_MaybeNum(x) const std::optional<at::Scalar> x = arguments.maybe_scalar();
#define SN_TAKE_Nums(x) const std::vector<at::Scalar> x = arguments.scalars();
#define SN_TAKE_Ints(x) const std::vector<int64_t> x = arguments.integers();
#define SN_TAKE_Floats(x) const std::vector<double> x = arguments.floats();
#define SN_TAKE_Bools(x) const std::vector<uint8_t> x = arguments.bools();
#define SN_TAKE_Int(x) const int64_t x = arguments.integer();
#define SN_TAKE_I32(x) const int64_t x = arguments.integer();
#define SN_TAKE_I8(x) const int64_t x = arguments.integer();
#define SN_TAKE_U64(x) const int64_t x = arguments.integer();
#define SN_TAKE_Flag(x) const bool x = arguments.integer() != 0;
#define SN_TAKE_F64(x) const double x = arguments.real();
#define SN_TAKE_F32(x) const double x = arguments.real();
#define SN_TAKE_Text(x) const std::string x = arguments.text();
#define SN_TAKE_Type(x) const at::ScalarType x = softnpu::scalar_type(static_cast<aclDataType>(arguments.integer()));

#define SN_BODY_In(x) [[maybe_unused]] const at::Tensor& x
#define SN_BODY_Out(x) [[maybe_unused]] at::Tensor& x
#define SN_BODY_Sized(x) [[maybe_unused]] softnpu::Sized& x
#define SN_BODY_List(x) [[maybe_unused]] const std::vector<at::Tensor>& x
#define SN_BODY_Num(x) [[maybe_unused]] const at::Scalar& x
#define SN_BODY_MaybeNum(x) [[maybe_unused]] const std::optional<at::Scalar>& x
#define SN_BODY_Nums(x) [[maybe_unused]] const std::vector<at::Scalar>& x
#define SN_BODY_Ints(x) [[maybe_unused]] const std::vector<int64_t>& x
#define SN_BODY_Floats(x) [[maybe_unused]] const std::vector<double>& x
#define SN_BODY_Bools(x) [[maybe_unused]] const std::vector<uint8_t>& x
#define SN_BODY_Int(x) [[maybe_unused]] int64_t x
#define SN_BODY_I32(x) [[maybe_unused]] int64_t x
#define SN_BODY_I8(x) [[maybe_unused]] int64_t x
#define SN_BODY_U64(x) [[maybe_unused]] int64_t x
#define SN_BODY_Flag(x) [[maybe_unused]] bool x
#define SN_BODY_F64(x) [[maybe_unused]] double x
#define SN_BODY_F32(x) [[maybe_unused]] double x
#define SN_BODY_Text(x) [[maybe_unused]] const std::string& x
#define SN_BODY_Type(x) [[maybe_unused]] at::ScalarType x

#define SN_NAME_In(x) x
#define SN_NAME_Out(x) x
#define SN_NAME_Sized(x) x
#define SN_NAME_List(x) x
#define SN_NAME_Num(x) x
#define SN_NAME_MaybeNum(x) x
#define SN_NAME_Nums(x) x
#define SN_NAME_Ints(x) x
#define SN_NAME_Floats(x) x
#define SN_NAME_Bools(x) x
#define SN_NAME_Int(x) x
#define SN_NAME_I32(x) x
#define SN_NAME_I8(x) x
#define SN_NAME_U64(x) x
#define SN_NAME_Flag(x) x
#define SN_NAME_F64(x) x
#define SN_NAME_F32(x) x
#define SN_NAME_Text(x) x
#define SN_NAME_Type(x) x

#define SN_EXPORT extern "C" __attribute__((visibility("default")))

#define OP(name, ...) OP_COST(name, softnpu::vector_cost, __VA_ARGS__)

#define OP_COST(name, cost_function, ...) OP_CHECKED(name, nullptr, cost_function, __VA_ARGS__)

#define OP_CHECKED(name, check_function, cost_function, ...)                                                          \
    static void name##_body(SN_LIST(SN_BODY_, __VA_ARGS__));                                                          \
    static void name##_run(const aclOpExecutor& executor) {                                                           \
        softnpu::Arguments arguments(executor);                                                                       \
        SN_EACH(SN_TAKE_, __VA_ARGS__)                                                                                \
        name##_body(SN_LIST(SN_NAME_, __VA_ARGS__));                                                                  \
    }                                                                                                                 \
    static constexpr softnpu::Operator name##_operator =                                                              \
        softnpu::make_operator(#name, name##_run, cost_function, check_function);                                     \
    SN_EXPORT aclnnStatus name##GetWorkspaceSize(SN_LIST(SN_ABI_, __VA_ARGS__), uint64_t* workspaceSize,              \
                                                 aclOpExecutor** executor) {                                          \
        softnpu::PlanBuilder builder(name##_operator);                                                                \
        SN_EACH(SN_KEEP_, __VA_ARGS__)                                                                                \
        return builder.finish(workspaceSize, executor);                                                               \
    }                                                                                                                 \
    SN_EXPORT aclnnStatus name(void* /*workspace*/, uint64_t /*size*/, aclOpExecutor* executor, aclrtStream stream) { \
        return softnpu::launch(name##_operator, executor, stream);                                                    \
    }                                                                                                                 \
    static void name##_body(SN_LIST(SN_BODY_, __VA_ARGS__))
