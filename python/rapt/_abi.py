# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The structs and numbers of include/rapt/rapt.h, field for field.

Pointers are plain addresses: whoever stores one keeps what it points to alive until the call
returns. tests/python_test.py compares every size, offset and number here with the header's.
"""

from __future__ import annotations

from ctypes import (Structure, c_char, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint64,
                    c_void_p, sizeof)

MAX_RANK = 5
UNBOUNDED = 2**63 - 1

OK, INVALID_ARGUMENT, UNSUPPORTED, OUT_OF_MEMORY, DEVICE_ERROR, INTERNAL = range(6)

# Element types by the names that NumPy, ml_dtypes and torch share.
DTYPES = {
    "float32": 1,
    "float16": 2,
    "bfloat16": 3,
    "float8_e4m3fn": 4,
    "float8_e5m2": 5,
    "int8": 6,
    "int32": 7,
    "uint32": 8,
    "int64": 9,
}

PAGE_LAYOUTS = {"page_head_dim": 0, "head_page_dim": 1, "head_dim_page": 2, "x_packed": 3}


class Sized(Structure):
    """A struct that begins with its own size and is zero otherwise."""

    def __init__(self, **fields: object) -> None:
        super().__init__(struct_size=sizeof(self), **fields)


class Tensor(Structure):
    _fields_ = [("struct_size", c_size_t), ("data", c_void_p), ("dtype", c_int32),
                ("rank", c_int32), ("shape", c_int64 * MAX_RANK), ("strides", c_int64 * MAX_RANK),
                ("device_kind", c_int32), ("device_index", c_int32)]


class Mask(Sized):
    _fields_ = [("struct_size", c_size_t), ("left", c_int64), ("right", c_int64),
                ("sink_tokens", c_int64)]


class Softcap(Sized):
    _fields_ = [("struct_size", c_size_t), ("cap", c_float)]


class Alibi(Sized):
    _fields_ = [("struct_size", c_size_t), ("slopes", Tensor)]


class Bias(Sized):
    _fields_ = [("struct_size", c_size_t), ("bias", Tensor)]


class Sinks(Sized):
    _fields_ = [("struct_size", c_size_t), ("sinks", Tensor)]


class Dropout(Sized):
    _fields_ = [("struct_size", c_size_t), ("probability", c_float), ("seed", c_uint64),
                ("offset", c_uint64)]


class Descale(Sized):
    _fields_ = [("struct_size", c_size_t), ("q", Tensor), ("k", Tensor), ("v", Tensor)]


class Ragged(Sized):
    _fields_ = [("struct_size", c_size_t), ("q_offsets", Tensor), ("kv_offsets", Tensor),
                ("max_q_len", c_int64), ("max_kv_len", c_int64)]


class Pages(Sized):
    _fields_ = [("struct_size", c_size_t), ("table", Tensor), ("layout", c_int32),
                ("page_size", c_int64)]


class Lengths(Sized):
    _fields_ = [("struct_size", c_size_t), ("q_len", Tensor), ("kv_len", Tensor),
                ("cache_row", Tensor), ("left_pad", Tensor)]


class Positions(Sized):
    _fields_ = [("struct_size", c_size_t), ("q_start", Tensor), ("kv_start", Tensor)]


class Attention(Structure):
    _fields_ = [("struct_size", c_size_t), ("q", Tensor), ("k", Tensor), ("v", Tensor),
                ("out", Tensor), ("lse", Tensor), ("scale", c_void_p), ("mask", c_void_p),
                ("softcap", c_void_p), ("alibi", c_void_p), ("bias", c_void_p),
                ("sinks", c_void_p), ("dropout", c_void_p), ("descale", c_void_p),
                ("ragged", c_void_p), ("pages", c_void_p), ("lengths", c_void_p),
                ("positions", c_void_p)]


class Gradient(Sized):
    _fields_ = [("struct_size", c_size_t), ("forward", c_void_p), ("d_out", Tensor),
                ("dq", Tensor), ("dk", Tensor), ("dv", Tensor), ("d_bias", Tensor),
                ("d_sinks", Tensor), ("d_slopes", Tensor)]


class Options(Sized):
    _fields_ = [("struct_size", c_size_t), ("backend", c_char_p), ("kernel", c_char_p),
                ("stream", c_void_p), ("threads", c_int32), ("parallel_for", c_void_p),
                ("parallel_context", c_void_p)]


class Bounds(Sized):
    _fields_ = [("struct_size", c_size_t), ("batch", c_int64), ("q_tokens", c_int64),
                ("q_len", c_int64), ("kv_len", c_int64)]


class Step(Sized):
    _fields_ = [("struct_size", c_size_t), ("batch", c_int64), ("q_len", c_void_p),
                ("kv_len", c_void_p)]


class Rope(Sized):
    _fields_ = [("struct_size", c_size_t), ("cos", Tensor), ("sin", Tensor),
                ("positions", Tensor), ("rotary_dim", c_int64), ("interleaved", c_int32)]


class AppendArgs(Sized):
    _fields_ = [("struct_size", c_size_t), ("k", Tensor), ("v", Tensor), ("k_cache", Tensor),
                ("v_cache", Tensor), ("slots", Tensor), ("layout", c_int32),
                ("page_size", c_int64), ("rope", c_void_p), ("q", Tensor), ("q_out", Tensor)]


class MergeArgs(Sized):
    _fields_ = [("struct_size", c_size_t), ("count", c_int64), ("out", c_void_p),
                ("lse", c_void_p), ("merged_out", Tensor), ("merged_lse", Tensor)]


class DeviceInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("backend", c_char * 16), ("index", c_int32),
                ("available", c_int32), ("name", c_char * 128), ("detail", c_char * 256),
                ("memory_bytes", c_int64), ("workers", c_int32)]


# The arguments of every verb called from here; each answers a rapt_status unless RESULTS says else.
PROTOTYPES = {
    "rapt_version": [],
    "rapt_error_message": [],
    "rapt_attend": [c_void_p] * 2,
    "rapt_attend_backward": [c_void_p] * 2,
    "rapt_prepare": [c_void_p] * 2,
    "rapt_explain": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p],
    "rapt_devices": [c_void_p, c_size_t, c_void_p],
    "rapt_plan_create": [c_void_p] * 4,
    "rapt_plan_free": [c_void_p],
    "rapt_plan_workspace_bytes": [c_void_p],
    "rapt_plan_kernel": [c_void_p],
    "rapt_upload": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p],
    "rapt_run": [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p],
    "rapt_append": [c_void_p] * 2,
    "rapt_copy_pages": [c_void_p] * 3,
    "rapt_swap_pages": [c_void_p] * 4,
    "rapt_clear_pages": [c_void_p] * 3,
    "rapt_merge": [c_void_p] * 2,
}

RESULTS = {
    "rapt_error_message": c_char_p,
    "rapt_plan_free": None,
    "rapt_plan_workspace_bytes": c_size_t,
    "rapt_plan_kernel": c_char_p,
}
