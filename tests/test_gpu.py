"""`--device gpu` without a GPU: the array backend and the CUDA kernels on tests/fake_cupy.py, which keeps CuPy's rules;
the calls that only CuPy has against CuPy's own signatures; the kernels through NVIDIA's compiler. What no stand-in can
show, benchmarks/gpu_check.py does on a machine that has a GPU: here it is run on the stand-in."""

import builtins
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fake_cupy
import tinyconv
from test_cli import folder  # noqa: F401
from test_zoo import LONG, NETS as ZOO
from tinyconv import NetError
from tinyconv.cli import main
from tinyconv.ops import OPS
from tinyconv.runtime import array, cuda_ops, cupy_device
from tinyconv.runtime.backend import compiled

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
needs_cpu = pytest.mark.skipif(not compiled(), reason="the compiled backend is not built")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the kernels run as C++, and there is no g++")


@pytest.fixture
def cupy(monkeypatch):
    return fake_cupy.install(monkeypatch)[0]


@pytest.fixture(scope="module")
def gpu_check():
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("gpu_check")
    sys.path.remove(str(BENCHMARKS))


# -- what is computed

@needs_cpu
def test_every_operation_gives_what_numpy_does(cupy, gpu_check):
    results = gpu_check.steps(stand_in=True, tf32=False)
    assert {result.check for result in results} == {op for op in OPS if hasattr(array, op)}
    assert [str(result) for result in results if not result.ok] == []


SIBLINGS = {"vgg11", "vgg13", "vgg16", "vgg19", "zfnet", "resnet34"}  # they have no layer that the others have not


@needs_cpu
@pytest.mark.parametrize("name", ZOO)
def test_loss_and_gradients_of_the_zoo_on_numpy_are_the_cpus(gpu_check, name, request):
    if name in LONG | SIBLINGS and request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    cpu, numpy = gpu_check.small(name, "cpu"), gpu_check.small(name, "numpy")
    x, labels = gpu_check.batch(cpu)
    limit = 1e-3 if name in LONG else 1e-4  # of the deepest
    loss, gradients, maxima = gpu_check.compared(numpy, cpu, x, labels)
    assert loss < limit and gradients < limit and maxima < gpu_check.SAME


def test_gradients_of_the_comparison_are_those_of_the_net(gpu_check):
    """With a net's own maxima; with others they change."""
    net = gpu_check.small("vgg", "numpy")
    x, labels = gpu_check.batch(net)
    loss, exact = net.gradients(x, labels)
    found, gradients, maxima = gpu_check.gradients(net, x, labels)
    assert found == loss and gpu_check.deviation(gradients, exact) == 0
    assert gpu_check.deviation(gpu_check.gradients(net, x, labels, maxima)[1], exact) == 0
    others = {layer: np.zeros_like(index) for layer, index in maxima.items()}
    assert gpu_check.deviation(gpu_check.gradients(net, x, labels, others)[1], exact) > 0.1


QUICK = ("lenet5", "vgg", "resnet20_cifar", "keywords")


@pytest.mark.parametrize("name", ZOO)
def test_a_step_of_training_goes_to_the_host_for_its_loss_alone(cupy, gpu_check, name, request):
    """Also that the loss is NumPy's, and that after it the weights are."""
    if name not in QUICK and request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    gpu, numpy = gpu_check.small(name, "gpu"), gpu_check.small(name, "numpy")
    x, labels = gpu_check.batch(gpu)
    trainers = [net.trainer(lr=0.001, momentum=0.9, decay=5e-4, clip=0.5) for net in (gpu, numpy)]
    for _ in range(2):
        cupy.transfers.clear()
        losses = [trainer.step(x, labels) for trainer in trainers]
        assert cupy.transfers == {"to device": 2, "to host": 1}  # images and labels; loss with norm
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert gpu_check.deviation(dict(gpu.weights), dict(numpy.weights)) < 1e-4


def test_dropout_draws_what_the_cpu_draws(cupy):
    text = "input 5x7 x4\ndropout 0.3 -> conv 1 x6 -> droppath 0.4 -> dropblock 0.2 size=3 -> fc 3 -> softmax"
    x = np.random.default_rng(0).random((8, 5, 7, 4), np.float32)
    found = [tinyconv.compile(text, device=device).gradients(x, np.arange(8) % 3, seed=2**40 + 7)
             for device in ("numpy", "gpu")]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for name, gradient in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", cuda_ops.ACTIVATIONS)
def test_activations_keep_nan_and_saturate_without_it(cupy, kind):
    net = tinyconv.compile(f"{kind} -> fc 2", input="x9", device="gpu")
    x = np.array([[-np.inf, -100, -6, -3, 0, 3, 6, 100, np.nan]], np.float32)
    ops = cupy_device.device().ops
    y = cupy.asnumpy(ops["act"](cupy, {"kind": kind, "a": 0.5}, cupy.asarray(x)))
    assert np.isnan(y[0, -1]) and np.isfinite(y[0, 1:-1]).all(), net
    slope = cupy.asnumpy(ops["act_grad"](cupy, {"kind": kind, "a": 0.5}, cupy.asarray(x[:, 1:-1]),
                                         cupy.asarray(np.ones((1, 7), np.float32))))
    assert np.isfinite(slope).all()


# -- memory, transfers, streams

def test_arrays_are_let_go_when_they_were_read_last(cupy):
    net = tinyconv.load("vgg", device="gpu")
    x, labels = np.zeros((2, 28, 28, 1), np.uint8), np.arange(2)
    trainer = net.trainer()
    trainer.step(x, labels)
    request = net.request("train", x, labels, optimizer=trainer.optimizer)
    with net.sessions.session(request) as session:
        assert set(session.arrays) == {loss.id for _, loss in session.plan.losses}


def test_batches_come_over_a_stream_of_their_own_and_are_waited_for(cupy, monkeypatch):
    """Without the waiting the device would compute on the batch before."""
    net = tinyconv.compile("fc 3", input="x4", device="gpu")
    x = np.random.default_rng(0).random((2, 2, 4), np.float32)
    exact = tinyconv.compile("fc 3", input="x4", device="numpy")
    for batch in x:
        np.testing.assert_allclose(net(batch), exact(batch), rtol=1e-5)
    monkeypatch.setattr(fake_cupy.Stream, "wait_event", lambda stream, event: None)
    assert not np.allclose(net(x[0]), exact(x[0]))


def test_the_stand_in_is_as_strict_as_cupy(cupy):
    x, host = cupy.ones((2, 3)), np.ones((2, 3))
    for mixed in (lambda: x + host, lambda: host + x, lambda: cupy.maximum(x, host), lambda: np.maximum(x, 1),
                  lambda: np.asarray(x), lambda: x.__setitem__(..., host), lambda: x.set(np.ones((2, 3), "f4")),
                  lambda: cupy_device.device().ops["act"](cupy, {"kind": "relu", "a": 0.0}, x)):
        with pytest.raises(TypeError):
            mixed()
    with pytest.raises(AttributeError):
        cupy.errstate
    cupy.transfers.clear()
    assert x.sum().shape == () and not cupy.transfers
    assert float(x.sum()) == 6 and cupy.transfers == {"to host": 1}


# -- the same files, whatever runs

@needs_cpu
def test_a_run_goes_on_on_another_device(folder, cupy, capsys):  # noqa: F811
    """Two epochs here and two there give the weights of four in one place, within rounding."""
    train = ["train", "net.net", "--data", "data.npz", "--json"]
    assert main([*train, "--epochs", "4", "--out", "cpu"]) == 0
    assert main([*train, "--epochs", "2", "--out", "both", "--device", "gpu"]) == 0
    assert cupy.launches["tinyconv_sgd"] > 0
    assert main(["train", "--resume", "both", "--epochs", "4", "--device", "cpu", "--json"]) == 0
    alone, both = (tinyconv.load(f"{run}/last.safetensors") for run in ("cpu", "both"))
    for name, w in alone.weights.items():
        np.testing.assert_allclose(both.weights[name], w, rtol=1e-3, atol=1e-4)
    capsys.readouterr()
    weights = "both/best.safetensors"
    for command in (["eval", weights, "--data", "data.npz"], ["predict", weights, "left.png"],
                    ["bench", "net.net", "--batch", "2"], ["bench", "net.net", "--train"]):
        assert main([*command, "--device", "gpu", "--json"]) == 0
    assert '"kernel": "CUDA"' in capsys.readouterr().out


def test_copies_and_averages_stay_on_the_device(cupy):
    net = tinyconv.compile("conv 3 x4 -> bn -> relu -> fc 3 -> softmax", input="6x6 x2", device="gpu")
    trainer = net.trainer(optimizer="adam", ema=0.9)
    x, labels = np.random.default_rng(0).random((4, 6, 6, 2), np.float32), np.arange(4) % 3
    trainer.step(x, labels)
    own = dict(net.weights)
    with trainer.averaged():
        assert any((net.weights[name] != w).any() for name, w in own.items())
    assert all((net.weights[name] == w).all() for name, w in own.items())
    other = tinyconv.compile(net.text, device="numpy").trainer(optimizer="adam", ema=0.9)
    other.load_state(trainer.state())
    assert all((other.state()[name] == value).all() for name, value in trainer.state().items())


def test_a_loss_that_is_not_finite_is_found(cupy):
    net = tinyconv.compile("fc 3 -> relu -> fc 2 -> softmax", input="x4", device="gpu")
    net.weights["fc1.weight"] = np.full((3, 4), np.nan)
    with pytest.raises(tinyconv.NonFiniteError, match="fc1.weight is not finite"):
        net.trainer().step(np.ones((2, 4), np.float32), np.arange(2))


# -- what is missing is told

def no_gpu(message):
    with pytest.raises(NetError) as error:
        tinyconv.compile("fc 3", input="x4", device="gpu")
    assert message in error.value.message and error.value.help
    return error.value


def test_without_cupy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "tinyconv[gpu]" in no_gpu("needs CuPy, which is not installed").help
    assert main(["train", "lenet5", "--device", "gpu"]) == 1
    assert "pip install 'tinyconv[gpu]'" in capsys.readouterr().err
    assert main(["info", "--json"]) == 0
    assert "not installed" in json.loads(capsys.readouterr().out)["gpu"]["error"]


def test_cupy_that_does_not_load(monkeypatch):
    original = builtins.__import__

    def broken(name, *rest):
        if name == "cupy":
            raise ImportError("libcuda.so.1: cannot open shared object file")
        return original(name, *rest)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(builtins, "__import__", broken)
    no_gpu("does not load: libcuda.so.1")


def test_without_a_device(monkeypatch):
    fake_cupy.install(monkeypatch, count=0)
    assert "nvidia-smi" in no_gpu("finds no CUDA device").help


def test_without_a_driver(cupy):
    def fails():
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")

    cupy.cuda.runtime.getDeviceCount = fails
    no_gpu("finds no CUDA device: cudaErrorInsufficientDriver")


def test_without_the_libraries_of_cuda(cupy):
    def fails(a, b):
        raise ImportError('Failure finding "libcublas.so"')

    cupy.matmul = fails
    assert "[ctk]" in no_gpu('cannot compute on it: Failure finding "libcublas.so"').help


def test_info_tells_what_is_there(cupy, capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] == {
        "device": "stand-in", "memory_gb": 8.0, "cupy": "stand-in", "cuda": "13.2", "tf32": False}
    assert main(["info"]) == 0
    assert "stand-in, 8.0 GB, CuPy stand-in, CUDA 13.2" in capsys.readouterr().out


# -- CuPy itself, where it is installed: it imports without a driver

REAL = """
import cupy, cupyx, inspect, json
print(json.dumps({"functions": dir(cupy), "methods": dir(cupy.ndarray), "runtime": dir(cupy.cuda.runtime),
    "parameters": {name: list(inspect.signature(f).parameters) for name, f in {
        "Stream": cupy.cuda.Stream.__init__, "Event": cupy.cuda.Event.__init__, "record": cupy.cuda.Event.record,
        "wait_event": cupy.cuda.Stream.wait_event, "asnumpy": cupy.asnumpy, "asarray": cupy.asarray, "pad": cupy.pad,
        "empty_pinned": cupyx.empty_pinned, "tensordot": cupy.tensordot, "take": cupy.take, "arange": cupy.arange,
        "take_along_axis": cupy.take_along_axis, "as_strided": cupy.lib.stride_tricks.as_strided}.items()},
    "set": cupy.ndarray.set.__doc__.split("\\n")[0], "astype": cupy.ndarray.astype.__doc__.split("\\n")[0],
    "mean": cupy.ndarray.mean.__doc__.split("\\n")[0]}))
"""


@pytest.fixture(scope="module")
def real():
    """What CuPy itself has, seen from another process."""
    pytest.importorskip("cupy", reason="CuPy is not installed: tests/full.sh installs it")
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cupy_has_all_that_the_stand_in_has(real):
    assert fake_cupy.FUNCTIONS <= set(real["functions"]) and fake_cupy.METHODS <= set(real["methods"])
    assert {"asarray", "asnumpy", "ElementwiseKernel", "ndarray"} <= set(real["functions"])
    assert {"get", "set", "item", *fake_cupy.ATTRIBUTES} <= set(real["methods"])
    assert {"getDeviceCount", "getDevice", "getDeviceProperties", "runtimeGetVersion"} <= set(real["runtime"])
    for name, parameters in {
            "Stream": ["non_blocking"], "Event": ["disable_timing"], "record": ["stream"], "wait_event": ["event"],
            "empty_pinned": ["shape", "dtype"], "asnumpy": ["a"], "asarray": ["a", "dtype"], "arange": ["dtype"],
            "tensordot": ["axes"], "take": ["indices", "axis"], "take_along_axis": ["indices", "axis"],
            "as_strided": ["shape", "strides"], "pad": ["pad_width", "kwargs"]}.items():
        assert set(parameters) <= set(real["parameters"][name]), name
    assert "arr, stream=None" in real["set"] and "copy=True" in real["astype"] and "keepdims=False" in real["mean"]


def test_cupy_takes_the_kernels(real):
    """It reads their parameters when they are made; compiling them needs a device."""
    code = ("import cupy; from tinyconv.runtime.cuda_ops import CudaOps, KERNELS; ops = CudaOps(cupy)\n"
            "assert all(len(ops.kernels[name].out_params) == k.gives.count(',') + 1 for name, k in KERNELS.items())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_cupy_without_a_driver_is_told(real):
    code = "from tinyconv.runtime import cupy_device; import json; print(json.dumps(cupy_device.facts()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert "finds no CUDA device" in facts.get("error", "") or facts["device"]


# -- NVIDIA's compiler, where it is installed

def test_nvidias_compiler_takes_the_kernels(tmp_path, cupy):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    kernels = cuda_ops.CudaOps(cupy).kernels.values()
    source = tmp_path / "kernels.cu"
    source.write_text("".join(kernel.cpp().replace('extern "C" void', 'extern "C" __global__ void').replace(
        "for (ptrdiff_t i = 0; i < _size; ++i)",
        "for (ptrdiff_t i = blockIdx.x * blockDim.x + threadIdx.x; i < _size; i += blockDim.x * gridDim.x)")
        for kernel in kernels))
    done = subprocess.run([nvcc, "-ptx", "-Werror", "all-warnings", "-o", tmp_path / "kernels.ptx", source],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kernels.ptx").read_text().count(".entry") >= len(kernels)


# -- the script

@needs_cpu
def test_the_check_of_a_machine_runs_on_the_stand_in():
    command = [sys.executable, BENCHMARKS / "gpu_check.py", "--stand-in", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    facts, *results, verdict = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0 and verdict == {"pass": True}, done.stderr + done.stdout
    assert {result["part"] for result in results} == {"steps", "zoo", "training", "speed"}


def test_the_check_of_a_machine_fails_without_a_gpu():
    code = ("import sys; sys.modules['cupy'] = None; sys.argv = ['gpu_check.py']\n"
            f"sys.path.insert(0, {str(BENCHMARKS)!r}); import gpu_check; sys.exit(gpu_check.main())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "CuPy, which is not installed" in done.stderr


def test_a_deviation_too_large_fails(gpu_check):
    assert gpu_check.Result("a", 0.9, 1.0).ok and not gpu_check.Result("a", 1.1, 1.0).ok
    assert not gpu_check.Result("a", float("nan"), 1.0).ok and gpu_check.Result("a figure", 1e9).ok
    exact = {"w": np.ones(4), "b": np.full(4, 1e-9)}
    assert gpu_check.deviation({"w": np.ones(4), "b": np.zeros(4)}, exact) < 1e-6
    assert gpu_check.deviation({"w": np.full(4, 1.01), "b": np.zeros(4)}, exact) == pytest.approx(0.01)
