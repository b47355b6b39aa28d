"""Every source of data, made small in a temporary folder: what it becomes."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_files import cifar_records, class_folders, fails, picture, save, write_idx, zip_folder

from tinyconv import data
from tinyconv.data import media


# --- the bundled set -----------------------------------------------------------------------------------------------

def test_bundled_set():
    d = data.open("fashion-mnist-small")
    assert d.train.images.shape == (6000, 28, 28, 1) and d.val.images.shape == (1000, 28, 28, 1)
    assert d.train.images.dtype == np.uint8 and d.train.labels.dtype == np.int32
    assert d.val is d.test is d.evaluation
    assert np.bincount(d.train.labels).tolist() == [600] * 10
    assert np.bincount(d.val.labels).tolist() == [100] * 10
    assert d.classes[0] == "T-shirt/top" and d.classes[9] == "Ankle boot" and len(d.classes) == 10
    # The pixels are what was drawn from Fashion-MNIST; a changed file would change results silently.
    digest = hashlib.sha256(d.train.images.tobytes() + d.val.images.tobytes()).hexdigest()
    assert digest == "d780c8ca3cbecfae55257f5959683f7119961c4bbec087467851af636caefed6"


def test_bundled_files_are_small_and_licensed():
    folder = Path(data.__file__).parent
    assert (folder / "fashion_mnist_small.png").stat().st_size <= 3_000_000
    assert "Zalando" in (folder / "fashion_mnist_small.LICENSE").read_text()


# --- sources that work ---------------------------------------------------------------------------------------------

def test_npz_with_test_split(tmp_path):
    x, y = picture(1, (6, 8, 8)), np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2].astype(np.uint8))
    d = data.open(tmp_path / "a.npz")
    assert (d.train.images == x).all() and d.train.labels.tolist() == y.tolist()
    assert d.val is d.test and d.val.labels.tolist() == [0, 1]
    assert d.classes == ["0", "1", "2"] and d.shape == (8, 8, 3) and d.name == "a"


def test_npz_grey_floats_without_split_draws_a_tenth(tmp_path):
    x = np.random.default_rng(0).random((40, 5, 5), dtype=np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40)[:, None] % 2, classes=np.array(["no", "yes"]))
    d = data.open(tmp_path / "a.npz", seed=3)
    assert (len(d.train), len(d.val), d.test) == (36, 4, None)
    assert np.bincount(d.val.labels).tolist() == [2, 2]
    assert d.train.images.dtype == np.float32 and d.shape == (5, 5, 1) and d.classes == ["no", "yes"]
    together = np.concatenate([d.train.images, d.val.images]).reshape(40, -1)
    assert (np.sort(together, 0) == np.sort(x.reshape(40, -1), 0)).all()


@pytest.mark.parametrize("zipped", [True, False])
def test_idx(tmp_path, zipped):
    x, y = write_idx(tmp_path, "train", 12, zipped=zipped)
    xt, yt = write_idx(tmp_path, "t10k", 6, seed=1, zipped=zipped)
    d = data.open(tmp_path)
    assert (d.train.images == x[..., None]).all() and (d.train.labels == y).all()
    assert (d.val.images == xt[..., None]).all() and (d.val.labels == yt).all()
    assert d.classes == ["0", "1", "2"]


def test_idx_prefers_the_plain_file_to_its_gz(tmp_path):
    write_idx(tmp_path, "train", 12, seed=1)
    x, _ = write_idx(tmp_path, "train", 12, seed=2, zipped=False)
    assert (data.open(tmp_path, validation=0).train.images == x[..., None]).all()


def test_cifar_binary(tmp_path):
    planes, labels, first = cifar_records(20)
    _, _, second = cifar_records(10, 1)
    xt, yt, test = cifar_records(10, 2)
    (tmp_path / "data_batch_1.bin").write_bytes(first)
    (tmp_path / "data_batch_2.bin").write_bytes(second)
    (tmp_path / "test_batch.bin").write_bytes(test)
    d = data.open(tmp_path)
    assert len(d.train) == 30 and d.shape == (32, 32, 3)
    assert (d.train.images[:20].transpose(0, 3, 1, 2) == planes).all()
    assert (d.train.labels[:20] == labels).all()
    assert (d.val.images.transpose(0, 3, 1, 2) == xt).all() and d.classes[9] == "truck"
    lone = data.open(tmp_path / "data_batch_1.bin", validation=0)
    assert len(lone.train) == 20 and lone.val is None and lone.evaluation is lone.train


def test_train_and_test_folders(tmp_path):
    made = class_folders(tmp_path / "train", 4)
    class_folders(tmp_path / "test", 2, seed=50)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".DS_Store").write_text("")
    d = data.open(tmp_path)
    assert d.classes == ["bee", "cat", "dog"] and len(d.train) == 12 and len(d.val) == 6
    for i in range(12):
        name = Path(d.train.name(i)).relative_to(tmp_path / "train").as_posix()
        assert (d.train.images[i] == made[name]).all()
        assert d.classes[d.train.labels[i]] == name.split("/")[0]


def test_val_is_what_epochs_report_and_test_what_eval_takes(tmp_path):
    for role, n in (("train", 4), ("val", 1), ("test", 2)):
        class_folders(tmp_path / role, n)
    d = data.open(tmp_path, validation=0.5)
    assert (len(d.train), len(d.val), len(d.test)) == (12, 3, 6) and d.evaluation is d.test


def test_validation_draws_from_training_and_keeps_the_test_split(tmp_path):
    class_folders(tmp_path / "train", 4)
    class_folders(tmp_path / "test", 2)
    d = data.open(tmp_path, validation=0.25)
    assert (len(d.train), len(d.val), len(d.test)) == (9, 3, 6)
    assert np.bincount(d.val.labels).tolist() == [1, 1, 1]


def test_class_folders_draw_a_stratified_tenth_by_seed(tmp_path):
    class_folders(tmp_path, 20)
    a, b, c = (data.open(tmp_path, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(a.val.labels).tolist() == [2, 2, 2] and len(a.train) == 54
    assert a.val.names == b.val.names and a.val.names != c.val.names
    assert not set(a.val.names) & set(a.train.names)


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_zip_of_class_folders(tmp_path, prefix):
    class_folders(tmp_path / "x" / "train", 3)
    class_folders(tmp_path / "x" / "test", 2, seed=9)
    plain = data.open(tmp_path / "x")
    target = zip_folder(tmp_path / "x", tmp_path / "x.zip", prefix)
    packed = data.open(target)
    assert (plain.train.images == packed.train.images).all() and (plain.val.images == packed.val.images).all()
    assert packed.classes == plain.classes and packed.train.name(0).startswith(f"{target}: {prefix}train/bee/")


def test_zip_of_idx_cifar_and_npz(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    write_idx(folder, "train", 12)
    assert len(data.open(zip_folder(folder, tmp_path / "i.zip"), validation=0).train) == 12
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("data_batch_1.bin", cifar_records(10)[2])
        archive.writestr("test_batch.bin", cifar_records(5)[2])
    assert len(data.open(tmp_path / "c.zip").val) == 5
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3, 3), np.uint8), y=np.array([0, 1, 0, 1]))
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as archive:
        archive.write(tmp_path / "a.npz", "a.npz")
    assert len(data.open(tmp_path / "n.zip", validation=0).train) == 4


def test_relative_paths(tmp_path, monkeypatch):
    class_folders(tmp_path / "net" / "images", 2)
    monkeypatch.chdir(tmp_path)
    assert len(data.open("images", base=tmp_path / "net", validation=0).train) == 6
    assert len(data.open("net/images", validation=0).train) == 6
    fails("images", "fashion-mnist-small", source="images")


def test_images_of_differing_sizes_and_large_sets(tmp_path, monkeypatch):
    made = class_folders(tmp_path / "d", 3, ("a", "b"))
    made["b/x.png"] = save(tmp_path / "d" / "b" / "x.png", picture(7, (9, 8)))
    for limit, kind in ((2 << 30, list), (200, media.Lazy)):
        monkeypatch.setattr(media, "MEMORY_LIMIT", limit)
        d = data.open(tmp_path / "d", validation=0)
        assert isinstance(d.train.images, kind) and len(d.train) == 7
        for i in range(7):
            assert (d.train.images[i] == made[Path(d.train.name(i)).relative_to(tmp_path / "d").as_posix()]).all()
        mean, _ = data.measure(d.train)
        pixels = np.concatenate([v.reshape(-1, 3) for v in made.values()])
        assert np.allclose(mean, pixels.mean(0) / 255, atol=1e-12)
        part = d.train.take(np.array([6, 0]))
        assert (part.images[0] == made["b/x.png"]).all()
    assert d.shape == (None, None, 3)


def test_threads_decode_the_same(tmp_path, monkeypatch):
    class_folders(tmp_path, 70, ("a", "b"))
    plain = data.open(tmp_path, validation=0)
    monkeypatch.setattr(media, "_THREADS_FROM", 1)
    assert (data.open(tmp_path, validation=0).train.images == plain.train.images).all()
    (tmp_path / "b" / "69.png").write_bytes(b"nothing")
    (tmp_path / "a" / "8.png").write_bytes(b"nothing")
    fails("a/8.png", source=tmp_path)
    assert len(data.open(tmp_path, skip_bad=True).skipped) == 2


def test_measure_is_the_double_precision_reference(tmp_path):
    x = picture(3, (700, 7, 9))
    mean, std = data.measure(data.Split(x, np.zeros(700)))
    reference = (x / 255.0).reshape(-1, 3)
    assert mean.dtype == np.float64
    assert np.allclose(mean, reference.mean(0), rtol=1e-12) and np.allclose(std, reference.std(0), rtol=1e-12)
    f = (x * 1.5 - 7).astype(np.float32)
    mean, std = data.measure(data.Split(f, np.zeros(700)))
    reference = f.astype(np.float64).reshape(-1, 3)
    assert np.allclose(mean, reference.mean(0), rtol=1e-12) and np.allclose(std, reference.std(0), rtol=1e-12)
    assert np.allclose(data.measure(data.Split(f.reshape(700, -1, 3), np.zeros(700)))[0], mean)  # one axis
    _, std = data.measure(data.Split(np.full((2, 3, 3, 1), 9, np.uint8), np.zeros(2)))
    assert std.tolist() == [1.0]


# --- the real data sets --------------------------------------------------------------------------------------------

REAL = os.environ.get("TINYCONV_DATA")


@pytest.mark.skipif(not REAL, reason="TINYCONV_DATA is not set")
def test_real_mnist_and_fashion_mnist():
    d = data.open(Path(REAL) / "mnist")
    assert d.train.images.shape == (60000, 28, 28, 1) and d.val.images.shape == (10000, 28, 28, 1)
    assert d.train.labels[:5].tolist() == [5, 0, 4, 1, 9] and d.val.labels[:3].tolist() == [7, 2, 1]
    mean, std = data.measure(d.train)
    assert abs(mean[0] - 0.1307) < 1e-4 and abs(std[0] - 0.3081) < 1e-4
    full, small = data.open(Path(REAL) / "fashion-mnist"), data.open("fashion-mnist-small")
    for part, whole, k in ((small.train, full.train, 600), (small.val, full.val, 100)):
        for c in range(10):
            assert (part.images[part.labels == c] == whole.images[np.flatnonzero(whole.labels == c)[:k]]).all()


@pytest.mark.skipif(not REAL, reason="TINYCONV_DATA is not set")
def test_real_cifar_binary():
    d = data.open(Path(REAL) / "data_batch_1_first4000.bin", validation=0)
    assert d.train.images.shape == (4000, 32, 32, 3) and d.classes[d.train.labels[0]] == "frog"
