# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The emulated GPU itself: kernels that are right, and kernels with a bug that it must show."""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("RAPT_LIBRARY", ROOT / "build/release/librapt.so")).parent
sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from translate import translate  # noqa: E402

HEAD = 'extern "C" __global__ void kernel(int* out) {\n'
# A word from every thread of a block to its neighbour in the next warp, by shared memory.
NEIGHBOUR = HEAD + """
  extern __shared__ int words[];
  words[threadIdx.x] = int(threadIdx.x);
  BARRIER
  out[threadIdx.x] = words[(threadIdx.x + 32) % 128];
}"""
COPY = HEAD + """
  extern __shared__ int words[];
  unsigned to = __cvta_generic_to_shared(words + 4 * threadIdx.x);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               ::"r"(to), "l"(out + 4 * threadIdx.x), "r"(16) : "memory");
  WAIT
  for (int i = 0; i < 4; ++i) out[512 + 4 * threadIdx.x + i] = words[4 * threadIdx.x + i];
}"""


class Launch(ctypes.Structure):
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3),
                ("shared", ctypes.c_uint), ("stream", ctypes.c_void_p),
                ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint)]


@pytest.fixture(scope="module")
def libraries():
    compiler = BUILD / "emulated/nvidia/emulator/lib/libnvrtc.so.13"
    driver = BUILD / "stand_in/libcuda.so.1"
    if not compiler.exists():
        pytest.skip("the stand-in driver is not part of this build")
    return ctypes.CDLL(str(compiler)), ctypes.CDLL(str(driver))


def compiled(compiler, text):
    """The library of a kernel; None where the emulator's compiler refuses it."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    compiler.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel", 0, None, None)
    if compiler.nvrtcCompileProgram(program, 0, None) != 0:
        return None
    compiler.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetCUBIN(program, code)
    return code


def run(libraries, text, seed=1, words=1024, threads=128, shared=2048):
    """What the kernel leaves in `out`, which counts up from 0; None where its launch fails."""
    compiler, driver = libraries
    os.environ["RAPT_EMULATOR_SEED"] = str(seed)
    code = compiled(compiler, text)
    assert code is not None
    library, kernel, memory = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    assert driver.cuLibraryLoadData(ctypes.byref(library), code, None, None, 0, None, None, 0) == 0
    assert driver.cuLibraryGetKernel(ctypes.byref(kernel), library, b"kernel") == 0
    driver.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4 * words))
    out = np.ctypeslib.as_array(ctypes.cast(memory, ctypes.POINTER(ctypes.c_int32)), (words,))
    out[:] = np.arange(words)
    launch = Launch((1, 1, 1), (threads, 1, 1), shared)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(memory))
    status = driver.cuLaunchKernelEx(ctypes.byref(launch), kernel, parameters, None)
    result = out.copy()
    driver.cuMemFree_v2(memory)
    return result if status == 0 else None


def test_a_barrier_orders_warps(libraries):
    text = NEIGHBOUR.replace("BARRIER", "__syncthreads();")
    for seed in range(4):
        np.testing.assert_array_equal(run(libraries, text, seed)[:128],
                                      (np.arange(128) + 32) % 128)


def test_a_missing_barrier_shows(libraries):
    text = NEIGHBOUR.replace("BARRIER", "__syncwarp();")
    answers = [run(libraries, text, seed)[:128] for seed in range(4)]
    assert any((answer != (np.arange(128) + 32) % 128).any() for answer in answers)


def test_a_copy_that_is_waited_for_has_arrived(libraries):
    text = COPY.replace("WAIT", 'asm volatile("cp.async.wait_all;" ::: "memory");')
    for seed in range(4):
        np.testing.assert_array_equal(run(libraries, text, seed)[512:], np.arange(512))


def test_a_copy_that_is_not_waited_for_shows(libraries):
    answers = [run(libraries, COPY.replace("WAIT", ""), seed)[512:] for seed in range(4)]
    assert all((answer != np.arange(512)).any() for answer in answers)


@pytest.mark.parametrize("body, words", [
    ("if (threadIdx.x < 64) __syncthreads();", ["nothing goes on", "warp 3: 32 lanes done"]),
    ('asm volatile("bar.sync %0, %1;" ::"r"(1), "r"(256) : "memory");', ["nothing goes on"]),
    ("if (threadIdx.x % 2) __syncwarp(); else __shfl_sync(~0u, 1, 0);",
     ["lanes of a warp meet at", "__syncwarp", "__shfl_sync"]),
    ('asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(2048), "r"(0) : "memory");',
     ["shared memory ends at 2048, the address is 2048"]),
    ('asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(8), "r"(0) : "memory");',
     ["shared address 8 is not aligned to 16"]),
    ("out[0] = __shfl_sync(3u, 1, 2);", ["a lane reads from one that its mask leaves out"]),
])
def test_what_hangs_or_strays_is_told(libraries, capfd, body, words):
    assert run(libraries, f"{HEAD}{body}\n}}") is None
    told = capfd.readouterr().err
    assert "emulated GPU: kernel: CTA (0, 0, 0)" in told
    for word in words:
        assert word in told


def test_an_instruction_that_it_does_not_know_is_refused(libraries, capfd):
    text = HEAD + 'asm volatile("fly.to.moon %0;" ::"r"(1));\n}'
    assert compiled(libraries[0], text) is None
    assert "ptx_fly_to_moon" in capfd.readouterr().err


def test_assembly_becomes_calls():
    body = '''asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; @p st.thing [%0], {%1, %1};}"
        ::"r"(to), "r"(f(a, b)), "r"(on) : "memory");'''
    code = translate(f"{HEAD}{body}\n}}")
    assert "const auto operand_1 = f(a, b);" in code
    assert "rapt::emulator::ptx_setp_ne_b32(p, operand_2, 0);" in code
    assert ("if (p) rapt::emulator::ptx_st_thing(operand_0, "
            "rapt::emulator::group(operand_1, operand_1));") in code


@pytest.mark.parametrize("text, sentence", [
    ("int x;", "a kernel's text has one entry, this one has 0"),
    (HEAD + 'int x = (asm("a;"), 1);}', "assembly that is no statement"),
    (HEAD + 'asm("a %0;" :: what);}', "an operand of assembly: what"),
])
def test_what_cannot_be_translated_is_told(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        translate(text)
