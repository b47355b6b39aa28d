"""Every source of data, made small in a temporary folder, and every bad input: what it becomes, what is said."""

import gzip
import hashlib
import io
import os
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyconv import data
from tinyconv.data import files as data_files
from tinyconv.data import media
from tinyconv.errors import NetError


def picture(seed, size=(6, 8), channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path)
    return array


def class_folders(root, per_class=5, classes=("dog", "cat", "bee"), seed=0, **kw):
    """Writes PNGs; the returned dict is {relative name: array}."""
    return {f"{c}/{i}.png": save(root / c / f"{i}.png", picture(seed + 100 * k + i, **kw))
            for k, c in enumerate(classes) for i in range(per_class)}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(root, prefix, n, seed=0, zipped=True, labels=None):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, 5, 4), dtype=np.uint8)
    y = np.arange(n, dtype=np.uint8) % 3 if labels is None else np.asarray(labels, np.uint8)
    for name, array in ((f"{prefix}-images-idx3-ubyte", x), (f"{prefix}-labels-idx1-ubyte", y)):
        if zipped:
            (root / (name + ".gz")).write_bytes(gzip.compress(idx(array)))
        else:
            (root / name).write_bytes(idx(array))
    return x, y


def cifar_records(n, seed=0):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    return planes, labels, np.concatenate([labels[:, None], planes.reshape(n, -1)], 1).tobytes()


def zip_folder(root, target, prefix=""):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, prefix + path.relative_to(root).as_posix())
    return target


def fails(*words, source, **kw):
    with pytest.raises(NetError) as caught:
        data.open(source, **kw)
    for word in words:
        assert str(word) in str(caught.value)
    return str(caught.value)


# --- the bundled set -----------------------------------------------------------------------------------------------

def test_bundled_set():
    start = time.perf_counter()
    d = data.open("fashion-mnist-small")
    assert time.perf_counter() - start < 2
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


# --- sources that do not -------------------------------------------------------------------------------------------

def test_missing_and_unknown(tmp_path):
    fails(tmp_path / "no", "no such file or folder", source=tmp_path / "no")
    (tmp_path / "a.txt").write_text("x")
    fails("a.txt", ".npz", ".zip", source=tmp_path / "a.txt")
    fails("2.0", source="fashion-mnist-small", validation=2.0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path):
    class_folders(tmp_path, 2)
    (tmp_path / "cat" / "0.png").chmod(0)
    fails("cat/0.png", "permission denied", source=tmp_path)


def test_dangling_link_is_named(tmp_path):
    class_folders(tmp_path, 2)
    (tmp_path / "cat" / "5.png").symlink_to(tmp_path / "gone.png")
    fails("cat/5.png", "no such file", source=tmp_path)


def test_nothing_fits_lists_what_was_looked_for(tmp_path):
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "weights.bin").write_bytes(b"123")
    text = fails("idx3-ubyte", "3,073-byte", "train/", "class folders", "image/ + label/", "train.csv",
                 "weights.bin: 3 bytes", source=tmp_path)
    assert text.count("\n") == 6
    (tmp_path / "x").mkdir()
    class_folders(tmp_path / "x" / "train", 2)
    fails("no test/ or val/ beside train/", source=tmp_path / "x")


def test_two_layouts_fit(tmp_path):
    class_folders(tmp_path, 2)
    write_idx(tmp_path, "train", 6)
    fails("2 layouts", "class folders", "idx3", source=tmp_path)


def test_empty_class_folder(tmp_path):
    class_folders(tmp_path, 2)
    (tmp_path / "ant").mkdir()
    fails("ant", "class folder without an image", source=tmp_path)
    class_folders(tmp_path / "s" / "train", 2)
    class_folders(tmp_path / "s" / "test", 2)
    (tmp_path / "s" / "test" / "bee" / "0.png").unlink()
    (tmp_path / "s" / "test" / "bee" / "1.png").unlink()
    fails("test/bee", "class folder without an image", source=tmp_path / "s")
    fails("test/bee", source=zip_folder(tmp_path / "s", tmp_path / "s.zip"))


def test_class_that_only_the_test_part_has(tmp_path):
    class_folders(tmp_path / "train", 2)
    class_folders(tmp_path / "test", 2, ("cat", "zebu"))
    fails("zebu", "bee, cat, dog", source=tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp"])
def test_truncated_image(tmp_path, suffix):
    class_folders(tmp_path, 3)
    whole = io.BytesIO()
    Image.fromarray(picture(5, (60, 60))).save(whole, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    bad = tmp_path / "cat" / f"1x.{suffix}"
    for part in (whole.getvalue()[:len(whole.getvalue()) // 2], whole.getvalue()[:20], b"", b"garbage" * 9):
        bad.write_bytes(part)
        fails(bad, "--skip-bad", source=tmp_path)
        d = data.open(tmp_path, skip_bad=True, validation=0)
        assert len(d.train) == 9 and len(d.skipped) == 1 and str(bad) in d.skipped[0]
        assert "1 bad files skipped" in d.description
        assert [d.classes[k] for k in d.train.labels] == [Path(n).parent.name for n in d.train.names]


def test_first_images_bad_and_all_bad(tmp_path):
    made = class_folders(tmp_path, 2, ("a", "b"))
    (tmp_path / "a" / "0.png").write_bytes(b"")
    d = data.open(tmp_path, skip_bad=True, validation=0)
    assert len(d.train) == 3 and (d.train.images[0] == made["a/1.png"]).all()
    for name in made:
        (tmp_path / name).write_bytes(b"")
    fails("none of 4 images", source=tmp_path, skip_bad=True)


def test_grey_and_rgb_are_not_converted(tmp_path):
    class_folders(tmp_path, 3)
    save(tmp_path / "cat" / "9.png", picture(0, channels=1))
    for skip_bad in (False, True):
        fails("cat/9.png", "grey (1 channel)", "RGB (3 channels)", source=tmp_path, skip_bad=skip_bad)


def test_train_and_test_of_other_channels(tmp_path):
    class_folders(tmp_path / "train", 2)
    class_folders(tmp_path / "test", 2, channels=1)
    fails("train images are RGB", "test images grey", source=tmp_path)


def test_sixteen_bit_images_are_refused(tmp_path):
    class_folders(tmp_path, 2)
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "cat" / "9.png")
    fails("cat/9.png", "I;16", source=tmp_path)


def test_palette_and_bitmap_files(tmp_path):
    rgb = picture(1, (4, 4)) // 128 * 255
    image = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    image.save(tmp_path / "p.png")
    assert (data.load(tmp_path / "p.png", 3) == rgb).all()
    Image.fromarray(rgb[:, :, 0]).convert("1").save(tmp_path / "b.png")
    assert (data.load(tmp_path / "b.png", 1) == rgb[:, :, :1]).all()


def test_idx_damage(tmp_path):
    x, y = write_idx(tmp_path, "train", 12, zipped=False)
    target, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = target.read_bytes()
    target.write_bytes(whole[:16 + 20 * 7 + 3])
    fails(target, "7 of 12 items", "--skip-bad", source=tmp_path)
    d = data.open(tmp_path, skip_bad=True, validation=0)
    assert (d.train.images == x[:7, :, :, None]).all() and len(d.skipped) == 1
    for damaged, words in ((whole + b"x", "1 bytes more"), (b"\x89PNG" + whole[4:], "not an idx file"),
                           (b"", "not an idx"), (whole[:9], "within its header"), (b"\0\0\x0d" + whole[3:], "0x0d"),
                           (idx(np.zeros((12, 0, 4), np.uint8)), "0x4")):
        target.write_bytes(damaged)
        fails(target, words, source=tmp_path)
    target.write_bytes(whole)
    labels.write_bytes(idx(y[:9]))
    fails("12 images", "9 labels", source=tmp_path)
    labels.unlink()
    fails(labels, "missing", source=tmp_path)


def test_gzipped_idx_damage(tmp_path):
    x, _ = write_idx(tmp_path, "train", 3000)
    target = tmp_path / "train-images-idx3-ubyte.gz"
    whole = target.read_bytes()
    target.write_bytes(whole[:len(whole) // 2])
    fails(target, "truncated or corrupt", source=tmp_path)
    d = data.open(tmp_path, skip_bad=True, validation=0)
    assert 1000 < len(d.train) < 2000 and (d.train.images == x[:len(d.train), :, :, None]).all()
    target.write_bytes(whole[:-8] + bytes(8))  # the checksum
    fails(target, "truncated or corrupt", source=tmp_path)


def test_idx_labels_out_of_range(tmp_path):
    write_idx(tmp_path, "train", 6, labels=[0, 1, 2, 0, 200, 1])
    fails("label 200 out of range", "image 4", source=tmp_path)
    write_idx(tmp_path, "train", 6)
    write_idx(tmp_path, "t10k", 6, labels=[0, 1, 2, 3, 0, 1])
    fails("label 3 out of range", "test image 3", source=tmp_path)


def test_idx_without_training_images(tmp_path):
    write_idx(tmp_path, "t10k", 6)
    fails("no training images", source=tmp_path)


def test_cifar_damage(tmp_path):
    whole = cifar_records(10)[2]
    target = tmp_path / "data_batch_1.bin"
    target.write_bytes(whole[:-100])
    fails(target, "truncated", source=target)
    assert len(data.open(target, skip_bad=True, validation=0).train) == 9
    (tmp_path / "data_batch_2.bin").write_bytes(whole)
    fails(target, "truncated", source=tmp_path)
    target.write_bytes(b"\x0a" + whole[1:])
    fails(target, "label 10 out of range at record 0", source=target)
    target.write_bytes(b"")
    fails("empty", source=target)


def test_npz_damage(tmp_path):
    target = tmp_path / "a.npz"
    x, y = np.zeros((4, 3, 3, 1), np.uint8), np.array([0, 1, 0, 1])

    def check(*words, **arrays):
        np.savez(target, **arrays)
        fails(target, *words, source=target)

    check("no array `y`", "there are x", x=x)
    check("no array `x_train`", "there are z", z=x)
    check("no array `y_test`", x_train=x, y_train=y, x_test=x)
    check("both `x` and `x_train`", x_train=x, y_train=y, x=x, y=y)
    check("float64", "astype(numpy.float32)", x=x.astype(float), y=y)
    check("shape (36,)", x=x.reshape(36), y=y)
    check("3 labels in `y` for 4 images", x=x, y=y[:3])
    check("label -1 out of range at y[2]", x=x, y=np.array([0, 1, -1, 1]))
    check("float64 of shape", x=x, y=y + 0.5)
    check("label 50 out of range", x=x, y=np.array([0, 1, 50, 1]))
    check("empty", x=x[:0], y=y[:0])
    check("label 1 out of range", "test image 1", x_train=x, y_train=y * 0, x_test=x, y_test=y)
    check("cannot be read as .npz", x=np.array([{}, 1], object), y=y)  # would need unpickling
    whole = target.read_bytes()
    for damaged in (whole[:len(whole) // 2], b"", b"PK" + bytes(200)):
        target.write_bytes(damaged)
        fails(target, "cannot be read as .npz", source=target)


def test_damaged_and_hostile_archives(tmp_path, monkeypatch):
    target = tmp_path / "a.zip"
    target.write_bytes(b"PK\3\4 not really")
    fails(target, "zip archive", source=target)
    for name in ("../evil/0.png", "/evil/0.png", "C:/evil/0.png"):
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(name, b"x")
        fails(target, name, "outside", source=target)
    assert not (tmp_path.parent / "evil").exists()

    class_folders(tmp_path / "d", 3)
    zip_folder(tmp_path / "d", target)
    raw = bytearray(target.read_bytes())
    at = raw.index(b"IDAT") + 8
    raw[at:at + 8] = bytes(8)
    target.write_bytes(raw)
    fails(target, "bee/0.png", "cannot be read", source=target)
    assert len(data.open(target, skip_bad=True, validation=0).train) == 8

    monkeypatch.setattr(data_files, "RATIO_FREE", 1000)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/0.png", bytes(1 << 20))
        archive.writestr("dog/0.png", b"x")
    fails(target, "cat/0.png", "refused", source=target)


def test_empty_zip_and_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    fails("looked for", ".npz", source=tmp_path / "a.zip")
    (tmp_path / "d").mkdir()
    fails("looked for", source=tmp_path / "d")


def test_load_image_for_predict(tmp_path):
    array = save(tmp_path / "a.png", picture(1))
    assert (data.load(tmp_path / "a.png", 3) == array).all()
    for bad, words, channels in (("no.png", "no such file", 3), ("a.png", "grey (1 channel) is needed", 1),
                                 ("b.png", "not an image", 3)):
        (tmp_path / "b.png").write_bytes(b"x")
        with pytest.raises(NetError, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
            data.load(tmp_path / bad, channels)
        assert str(tmp_path / bad) in str(caught.value) and "--skip-bad" not in str(caught.value)


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
