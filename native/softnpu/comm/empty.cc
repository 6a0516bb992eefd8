// SPDX-License-Identifier: Apache-2.0
//
// A library that torch_npu is linked to or opens, with nothing in it that the software NPU provides.
