# SPDX-License-Identifier: Apache-2.0 OR MIT
"""rapt among Python's threads and forks: nothing is read after its caller dropped it, nothing is
kept, the GIL is free while rapt computes, and a fork's child computes as its parent does."""

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from python_oracle import BATCH, KV_LEN, Q_HEADS, Q_LEN, make

import rapt
from rapt import _library, _problem

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning",
                                        "ignore:.*fork:RuntimeWarning")
CALLS, WORKERS = 400, 8
CHILD_SECONDS = 60


def everything():
    """A keyword for every group of a dense problem; the lists become arrays that only the call
    holds, as it does those that are made here."""
    rng = np.random.default_rng(3)
    return {"window": (6, 1), "sink_tokens": 2, "scale": 0.3, "softcap": 2.0,
            "alibi": [0.5, 0.25, 0.125, 0.0625], "sinks": [0.5, -1.0, 2.0, 0.0],
            "bias": rng.normal(size=(BATCH, Q_HEADS, Q_LEN, KV_LEN)).astype(np.float32),
            "dropout": 0.1, "seed": 3, "kv_len": [KV_LEN, 11], "q_len": [Q_LEN, 5],
            "left_pad": [0, 2], "cache_row": [1, 0], "q_start": [12, 6], "kv_start": [0, 1]}


def call(seed):
    """Of arrays that nobody else holds."""
    return rapt.attend(*make(seed), return_lse=True, **everything())


@pytest.fixture(name="pressure")
def fixture_pressure():
    """A thread that collects garbage and fills freed memory of the arrays' sizes with NaN."""
    stop = threading.Event()

    def run():
        while not stop.is_set():
            gc.collect()
            _ = [np.full(x.shape, np.nan, np.float32) for x in (*make(), everything()["bias"])]

    thread = threading.Thread(target=run)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    yield
    stop.set()
    thread.join()
    sys.setswitchinterval(interval)


def test_arrays_that_are_dropped_with_the_call_are_read_whole(pressure):
    wanted = [call(seed) for seed in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        for i, found in enumerate(pool.map(call, [i % WORKERS for i in range(CALLS)])):
            np.testing.assert_array_equal(found[0], wanted[i % WORKERS][0])
            np.testing.assert_array_equal(found[1], wanted[i % WORKERS][1])


def test_plans_that_are_dropped_with_their_run_are_read_whole(pressure):
    def planned(seed):
        arrays = make(seed)
        plan = rapt.Plan(*arrays, causal=True, bias=everything()["bias"])
        plan.upload(kv_len=[KV_LEN, KV_LEN])
        return plan.run(*arrays)

    wanted = [planned(seed) for seed in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        for i, found in enumerate(pool.map(planned, [i % WORKERS for i in range(CALLS)])):
            np.testing.assert_array_equal(found, wanted[i % WORKERS])


def test_a_call_keeps_nothing():
    arrays, keywords = make(), everything()
    watched = [weakref.ref(x) for x in (*arrays, keywords["bias"])]
    out, lse = rapt.attend(*arrays, return_lse=True, **keywords)
    watched += [weakref.ref(out), weakref.ref(lse)]
    del arrays, keywords, out, lse
    assert [reference() for reference in watched] == [None] * len(watched)


# ---- the GIL ----


class Ticker:
    """A thread that notes when it runs, about once a millisecond."""

    def __enter__(self):
        self.times, self.stopped = [], threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self):
        while not self.stopped.wait(0.001):
            self.times.append(time.perf_counter())

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def during(self, call):
        """How often it ran in the middle of a call, which must take a while."""
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        assert end - start > 0.05
        margin = 0.1 * (end - start)
        return sum(start + margin < at < end - margin for at in list(self.times))


def make_lasting(seconds):
    """Tensors whose attention takes one thread of this machine so long at least."""
    kv_len = 10_000
    while True:
        arrays = make(q_len=1000, kv_len=kv_len)
        start = time.perf_counter()
        rapt.attend(*arrays, threads=1)
        if time.perf_counter() - start > seconds:
            return arrays
        kv_len *= 2


def test_the_gil_is_free_while_rapt_computes():
    q, k, v = make_lasting(0.15)
    problem = _problem.Call(q, k, v, {"threads": 1})
    holding = ctypes.PyDLL(str(_library.path)).rapt_attend
    holding.argtypes = [ctypes.c_void_p] * 2
    with Ticker() as ticker:
        assert ticker.during(lambda: rapt.attend(q, k, v, threads=1)) >= 5
        assert ticker.during(lambda: holding(problem.address, problem.options)) == 0


# ---- fork ----


def in_child(task):
    """What a fork's child answers by its exit status: 0 where task() holds."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)  # one that hangs is ended
        gc.disable()  # frameworks that other tests loaded have threads, and locks that they held
        status = 1
        try:
            status = 0 if task() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(name="wanted")
def fixture_wanted():
    """A call's answer, on two threads of the library's own."""
    return rapt.attend(*make(q_len=130, kv_len=257), causal=True, threads=2)


def agrees(wanted, threads):
    found = rapt.attend(*make(q_len=130, kv_len=257), causal=True, threads=threads)
    return np.array_equal(found, wanted)


def test_a_fork_s_child_computes_as_its_parent_did(wanted):
    assert in_child(lambda: not agrees(wanted + 1, 2)) == 0
    for threads in (1, 2, 3):
        assert in_child(lambda threads=threads: agrees(wanted, threads)) == 0
    assert in_child(lambda: in_child(lambda: agrees(wanted, 2)) == 0) == 0
    assert agrees(wanted, 2)


def test_a_fork_amid_other_threads_calls_is_safe(wanted):
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            assert agrees(wanted, 2)

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(compute) for _ in range(2)]
        try:
            statuses = [in_child(lambda: agrees(wanted, 2)) for _ in range(10)]
        finally:
            stop.set()
        for one in busy:
            one.result()
    assert statuses == [0] * 10
