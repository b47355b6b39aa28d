"""Sources of data that are damaged, hostile or of no known kind: what is said of them."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_files import cifar_records, class_folders, fails, idx, picture, save, write_idx, zip_folder
from PIL import Image

from tinyconv import data
from tinyconv.data import files as data_files
from tinyconv.errors import NetError


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


def test_names_of_classes_that_are_not_utf_8(tmp_path):
    class_folders(tmp_path, 2, ("a", "caf\udce9"))
    fails(r"'caf\udce9' is not UTF-8", "rename its folder", source=tmp_path)


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
