"""Threads: the same bits for any number on every instruction set, a forked child that goes on, limits set elsewhere,
denormals, the processors that are counted."""

import multiprocessing
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tinyconv
from tinyconv import kernels
from tinyconv.runtime.backend import compiled

pytestmark = pytest.mark.skipif(not compiled(), reason="NumPy's threads are not ours")

NET = """conv 3x3 x24 -> bn -> relu -> conv 3x3 x24 g24 -> pool 2 -> conv 1x1 x40 -> relu
-> conv 3x3 x40 s2 -> pool global avg -> fc 10 -> softmax"""


def _steps():
    """Bytes of everything that two steps of training leave."""
    rng = np.random.default_rng(0)
    net = tinyconv.compile(NET, input="16x16 x3", seed=0)
    trainer = net.trainer(optimizer="sgd", lr=0.1)
    for _ in range(2):
        trainer.step(rng.normal(size=(9, 16, 16, 3)).astype(np.float32), rng.integers(0, 10, 9).astype(np.int32))
    return b"".join(net.weights[name].tobytes() for name in net.weights)


@pytest.fixture
def all_threads():
    """Small kernels use all threads, too."""
    from tinyconv.runtime import _cpu

    before = _cpu.least_work(0)
    yield
    _cpu.least_work(before)


def _isas():
    if not compiled():
        return []
    from tinyconv.runtime import _cpu

    return _cpu.isas()


def test_the_widest_vectors_come_first_but_on_zen_4_for_some_alone():
    path = "/proc/cpuinfo"
    facts = dict(re.findall(r"(\S[^\t:]*)\t*: (.*)", open(path).read())) if os.path.exists(path) else {}
    if "avx512" not in _isas() or "vendor_id" not in facts:
        pytest.skip("no choice, or no facts about the processor")
    halves = (facts["vendor_id"], facts["cpu family"]) == ("AuthenticAMD", "25")  # 19h
    assert _isas()[0] == ("zen4" if halves else "avx512")


@pytest.mark.parametrize("isa", _isas())
def test_same_bits_for_any_number_on_every_instruction_set(isa, all_threads):
    from tinyconv.runtime import _cpu

    before = _cpu.isa()
    try:
        assert _cpu.force_isa(isa)
        results = []
        for count in (1, 2, 3):
            with tinyconv.threads(count):
                results.append(_steps())
        assert results[0] == results[1] == results[2]
    finally:
        _cpu.force_isa(before)


def _child(sender):
    sender.send_bytes(_steps())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_alone(all_threads):
    """libgomp's threads do not survive a fork, a child that asked for them would wait forever."""
    with tinyconv.threads(3):
        want = _steps()
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(sender,))
        child.start()
        try:
            assert receiver.poll(60), "the child hangs"
            assert receiver.recv_bytes() == want
        finally:
            child.kill()
            child.join()
        assert _steps() == want  # the parent's threads are still there


def _counted(code, **environment):
    """What a process of its own prints after the imports."""
    start = """
import ctypes, os
import numpy as np
import tinyconv
from tinyconv import kernels
from tinyconv.runtime import _cpu, threads
a = np.ones((300, 300), np.float32)
def threads_here():
    return len(os.listdir("/proc/self/task"))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")} | environment
    done = subprocess.run([sys.executable, "-c", start + code], env=environment, capture_output=True, text=True,
                          timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_limits_set_through_openmp_hold():
    """As threadpoolctl sets them: the library's threads are OpenMP's."""
    from tinyconv.runtime import _cpu

    if not _cpu.has_openmp():
        pytest.skip("a build without OpenMP has one thread")
    code = """
before = threads_here()
gomp = ctypes.CDLL("libgomp.so.1")
gomp.omp_set_num_threads(1)
with tinyconv.threads(3):
    kernels.gemm(a, a)
    print(threads_here() - before)
    gomp.omp_set_num_threads(3)
    kernels.gemm(a, a)
    print(threads_here() - before)
"""
    assert _counted(code, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == ["0", "2"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processor sets here")
def test_processors_are_those_of_the_set():
    code = "print(_cpu.cpu_count(), threads.get())"
    one = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert _counted(one + code) == ["1", "1"]
    assert _counted(one + code, OMP_NUM_THREADS="3") == ["1", "3"]
    count, used = map(int, _counted(code))
    assert 1 <= count == used <= len(os.sched_getaffinity(0))


def test_denormals_are_zero_inside_and_kept_outside(all_threads):
    """In every thread's part of the result: sums of denormals take a hundred times as long."""
    tiny = np.full((96, 96), 1e-39, np.float32)
    for count in (1, 3):
        with tinyconv.threads(count):
            assert not kernels.gemm(tiny, np.ones((96, 96), np.float32)).any()
        assert (tiny * np.float32(0.5) > 0).all()
