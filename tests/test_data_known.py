"""The data sets known by name: fetched from a site of the test's own, checked and read."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
from data_files import fails, idx

from tinyconv import data
from tinyconv.cli import main
from tinyconv.data import known


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served over HTTP, and an empty cache: (folder, base address)."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("TINYCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def publish(monkeypatch, name, files, bases):
    sums = tuple((file, hashlib.md5(content).hexdigest()) for file, content in files.items())
    old = known.SETS[name]
    monkeypatch.setitem(known.SETS, name, known.KnownSet(name, old.words, bases, sums, old.classes))


def test_a_known_set_is_fetched_checked_and_read(site, monkeypatch, capsys):
    folder, base = site
    rng = np.random.default_rng(0)
    files, arrays = {}, {}
    for prefix, n in (("train", 30), ("t10k", 10)):
        arrays[prefix] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(arrays[prefix][0])
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(arrays[prefix][1])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    publish(monkeypatch, "fashion-mnist", files, (base + "gone/", base))
    fails("not on this machine", "tinyconv data fashion-mnist", source="fashion-mnist")
    assert main(["data", "--json"]) == 0
    states = {row["name"]: row["available"] for row in json.loads(capsys.readouterr().out)}
    assert states == {"fashion-mnist-small": True, "mnist": False, "fashion-mnist": False, "cifar-10": False,
                      "cifar-100": False}
    assert main(["data", "fashion-mnist"]) == 0
    out, err = capsys.readouterr()
    assert "fetched" in out and err.count("fetching") == 8  # the first address has none of the four
    d = data.open("fashion-mnist")
    assert (d.train.images[..., 0] == arrays["train"][0]).all() and (d.val.labels == arrays["t10k"][1]).all()
    assert d.classes[9] == "Ankle boot" and d.name == "fashion-mnist"
    # Fetched again nothing is loaded; a damaged file is.
    assert main(["data", "fashion-mnist"]) == 0 and "fetching" not in capsys.readouterr().err
    target = known.SETS["fashion-mnist"].folder / "t10k-labels-idx1-ubyte.gz"
    target.write_bytes(b"damaged")
    assert main(["data", "fashion-mnist"]) == 0
    assert target.read_bytes() == files["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("name, classes", [("cifar-10", 10), ("cifar-100", 100)])
def test_cifar_archives(site, monkeypatch, name, classes):
    folder, base = site
    rng = np.random.default_rng(0)
    planes, labels = rng.integers(0, 256, (40, 3, 32, 32), dtype=np.uint8), rng.integers(0, classes, 40, dtype=np.uint8)
    coarse = [] if classes == 10 else [rng.integers(0, 20, (40, 1), dtype=np.uint8)]
    records = np.concatenate([*coarse, labels[:, None], planes.reshape(40, -1)], 1)
    members = {"train.bin" if classes == 100 else "data_batch_1.bin": records[:30].tobytes(),
               "test.bin" if classes == 100 else "test_batch.bin": records[30:].tobytes(),
               "fine_label_names.txt": "\n".join(f"c{i}" for i in range(100)).encode()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(f"top/{member}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    file = f"{name}-binary.tar.gz"
    (folder / file).write_bytes(packed.getvalue())
    publish(monkeypatch, name, {file: packed.getvalue()}, (base,))
    known.SETS[name].fetch()
    d = data.open(name)
    assert (d.train.images.transpose(0, 3, 1, 2) == planes[:30]).all() and (d.val.labels == labels[30:]).all()
    assert d.classes[3] == ("cat" if classes == 10 else "c3") and len(d.classes) == classes


def test_a_wrong_checksum_and_no_answer(site, monkeypatch, capsys):
    folder, base = site
    (folder / "a-images-idx3-ubyte.gz").write_bytes(b"something else")
    publish(monkeypatch, "mnist", {"a-images-idx3-ubyte.gz": b"as published"}, (base, "http://127.0.0.1:9/"))
    assert main(["data", "mnist"]) == 1
    err = capsys.readouterr().err
    assert "checksum is wrong" in err and "ConnectionError" in err and "by other means" in err
    assert not known.SETS["mnist"].fetched
    assert main(["data", "mnits"]) == 2 and "did you mean `mnist`" in capsys.readouterr().err
