"""The weights file: round trips, equal bytes, whole replacement, and errors that name what is wrong."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tinyconv import files, weights
from tinyconv.errors import NetError


def sample():
    rng = np.random.default_rng(0)
    return {"conv1.weight": rng.standard_normal((4, 3, 3, 2)).astype("f4"), "conv1.bias": np.zeros(4, "f4"),
            "state.loop.epoch": np.array(3, "i8"), "state.sum": np.array([0.1, 1e300]), "state.none": np.zeros((0, 2)),
            "flags": np.array([True, False]), "bytes": np.arange(3, dtype="u1"),
            "turned": rng.standard_normal((3, 5)).astype("f4").T}


def test_round_trip_is_exact_and_independent_of_order(tmp_path):
    tensors = sample()
    steps = [("pad", {"n": 2}, "a span"), ("crop", {"k": (3, 4)})]
    metadata = weights.describe("conv 3x3 x4", ["Bild", "Größe"], steps)
    weights.write(tmp_path / "a.safetensors", tensors, metadata)
    weights.write(tmp_path / "b.safetensors", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    back, described = weights.read(tmp_path / "a.safetensors")
    assert described == metadata
    assert weights.class_names(described, "the file") == ["Bild", "Größe"]
    assert json.loads(described["tinyconv.test"]) == [["pad", {"n": 2}], ["crop", {"k": [3, 4]}]]
    assert list(back) == sorted(tensors)
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_equal_bytes_in_another_process(tmp_path):
    script = ("import sys, numpy as np; from tinyconv import weights; "
              "weights.write(sys.argv[1], {n: np.zeros(2) for n in 'bca'}, {k: k for k in 'zyxwvu'})")
    for name in "12":
        env = {**os.environ, "PYTHONHASHSEED": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True, env=env)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_the_library_reads_what_is_written_and_the_reverse(tmp_path):
    numpy_io = pytest.importorskip("safetensors.numpy")
    weights.write(tmp_path / "a", sample(), {"k": "v"})
    for name, array in numpy_io.load_file(tmp_path / "a").items():
        np.testing.assert_array_equal(array, sample()[name])
    numpy_io.save_file({"w": np.ones((2, 3), "f4")}, tmp_path / "b")
    tensors, metadata = weights.read(tmp_path / "b")
    assert metadata == {} and tensors["w"].shape == (2, 3)
    assert weights.class_names(metadata, "the file") is None


def test_every_truncation_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.write(path, {"w": np.ones((2, 3), "f4")}, {"k": "v"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(NetError, match="cannot read .*a.safetensors"):
            weights.read(path)


@pytest.mark.parametrize("content", [b"\x80\x04N.", b"PK\x03\x04" + bytes(60), bytes(64), b"\xff" * 64,
                                     (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"w":{}} '])
def test_other_kinds_of_files_are_errors(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(NetError, match="not a safetensors file, or a damaged one"):
        weights.read(tmp_path / "w")


def test_missing_folder_and_later_format(tmp_path):
    with pytest.raises(NetError, match="No such file"):
        weights.read(tmp_path / "none")
    with pytest.raises(NetError, match="Is a directory"):
        weights.read(tmp_path)
    weights.write(tmp_path / "w", {}, {"tinyconv.format": "2"})
    with pytest.raises(NetError, match="format 2.*\n.*newer"):
        weights.read(tmp_path / "w")


def test_fit_says_which_tensors_and_shapes():
    shapes = {"fc1.weight": (10, 4), "fc1.bias": (10,), "fc2.weight": (3, 10)}
    tensors = {"fc1.weight": np.zeros((7, 4), "f4"), "fc1.bias": np.zeros(10, "i4"), "fc3.weight": np.zeros((2, 2))}
    with pytest.raises(NetError) as caught:
        weights.fit(shapes, tensors, "w.safetensors")
    for part in ("w.safetensors", "`fc1.weight` is 7x4, the net has 10x4", "`fc2.weight` 3x10 is missing",
                 "`fc3.weight` 2x2 is not in the net", "`fc1.bias` holds int32"):
        assert part in str(caught.value)


def test_fit_passes_over_training_state_and_converts():
    tensors = {"w": np.array([1.0, 2.0]), "optimizer.w": np.zeros(2), "state.step": np.zeros(1)}
    got = weights.fit({"w": (2,)}, tensors, "f")
    assert list(got) == ["w"] and got["w"].dtype == np.float32


def test_fit_shortens_long_lists():
    with pytest.raises(NetError, match="and 12 more"):
        weights.fit({f"w{i}": (1,) for i in range(20)}, {}, "f")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w"
    weights.write(path, {"w": np.ones(3)})
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(NetError, match="No space left on device; the file that was there is unchanged"):
        weights.write(path, {"w": np.zeros(3)})
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["w"]


def test_a_real_size_limit_keeps_the_old_file(tmp_path):
    """RLIMIT_FSIZE makes write() itself fail part of the way, as a full disk does."""
    path = tmp_path / "w"
    weights.write(path, {"w": np.ones(3)})
    old = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(NetError, match="cannot write .*unchanged"):
            weights.write(path, {"w": np.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["w"]


def test_links_stay_and_devices_are_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "w")
    weights.write(tmp_path / "link", {"w": np.ones(1)})
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "w").is_file()
    with pytest.raises(NetError, match="not a plain file"):
        weights.write("/dev/null", {})
    with pytest.raises(NetError, match="No such file or directory"):
        weights.write(tmp_path / "no" / "w", {})


def test_unknown_dtype_names_the_tensor(tmp_path):
    with pytest.raises(NetError, match="`w`.*complex128"):
        weights.write(tmp_path / "w", {"w": np.zeros(2, complex)})
