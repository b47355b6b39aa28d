"""Masks, sounds, arrays, lists: what each becomes, and what is said of bad ones."""

import sys
import wave
import zipfile

import numpy as np
import pytest
from data_files import fails, picture, save
from PIL import Image

from tinyconv import data
from tinyconv.data import Batches, media
from tinyconv.errors import NetError


# --- masks

def pairs(root, n=6, values=(0, 255), size=(6, 8), names=("image", "label")):
    rng = np.random.default_rng(1)
    x = [save(root / names[0] / f"{i}.jpg.png", picture(i, size)) for i in range(n)]
    y = [save(root / names[1] / f"{i}.jpg.png", rng.choice(values, size).astype(np.uint8)) for i in range(n)]
    return np.stack(x), np.stack(y)


@pytest.mark.parametrize("names", [("image", "label"), ("images", "masks")])
def test_pairs_of_images_and_masks(tmp_path, names):
    x, y = pairs(tmp_path, names=names)
    d = data.open(tmp_path, validation=0)
    assert (d.train.images == x).all() and (d.train.labels == y // 255).all() and d.train.labels.dtype == np.uint8
    assert d.classes == ["background", "foreground"] and d.train.masks
    drawn = data.open(tmp_path, validation=1 / 3, seed=4)
    assert (len(drawn.train), len(drawn.val)) == (4, 2)
    for split in (drawn.train, drawn.val):
        for i in range(len(split)):
            at = int(split.name(i).split("/")[-1][0])
            assert (split.images[i] == x[at]).all() and (split.labels[i] == y[at] // 255).all()


def test_pairs_under_train_beside_an_unlabelled_test(tmp_path):
    x, y = pairs(tmp_path / "train", values=(0, 1, 2))
    save(tmp_path / "test" / "0.png", picture(0))
    d = data.open(tmp_path, validation=0)
    assert (d.train.labels == y).all() and d.classes == ["0", "1", "2"] and d.val is None
    pairs(tmp_path / "val", 2, values=(0, 1, 2))
    assert len(data.open(tmp_path).val) == 2
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(tmp_path.glob("train/*/*.png")):
            archive.write(path, path.relative_to(tmp_path).as_posix())
    assert (data.open(tmp_path / "a.zip", validation=0).train.labels == y).all()


def test_masks_of_differing_sizes_and_palettes(tmp_path):
    pairs(tmp_path, 3, values=(0, 1))
    save(tmp_path / "image" / "z.png", picture(9, (9, 7)))
    mask = Image.fromarray(np.tile(np.arange(2, dtype=np.uint8), (9, 4))[:, :7], "P")
    mask.putpalette([255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "label" / "z.png")
    d = data.open(tmp_path, validation=0)
    assert isinstance(d.train.labels, list) and (d.train.labels[3][0] == [0, 1, 0, 1, 0, 1, 0]).all()
    (x, y), = Batches(d.train, 4, [("crop", {"n": 6})], shape=(6, 6, 3))
    assert x.shape == (4, 6, 6, 3) and y.shape == (4, 6, 6)


def test_masks_that_do_not_fit(tmp_path):
    pairs(tmp_path / "a", 2)
    (tmp_path / "a" / "label" / "1.jpg.png").unlink()
    fails("1.jpg.png: no mask", "same name", source=tmp_path / "a")
    pairs(tmp_path / "b", 2)
    save(tmp_path / "b" / "label" / "1.jpg.png", np.zeros((5, 8), np.uint8))
    fails("6x8, but its mask is 5x8", source=tmp_path / "b")
    pairs(tmp_path / "c", 2)
    save(tmp_path / "c" / "label" / "1.jpg.png", picture(0))
    fails("pixel format RGB", "class numbers", source=tmp_path / "c")
    pairs(tmp_path / "d", 2, values=(0, 1, 255))
    fails("0, 1, 255", "without gaps", source=tmp_path / "d")


def test_masks_in_npz(tmp_path):
    x, y = np.zeros((4, 5, 6, 3), np.uint8), np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    np.savez(tmp_path / "a.npz", x=x, y=y[..., None])
    d = data.open(tmp_path / "a.npz", validation=0)
    assert d.train.masks and (d.train.labels == y).all() and d.classes == ["0", "1", "2"]
    np.savez(tmp_path / "a.npz", x=x, y=y[:, :4])
    fails("(4, 4, 6)", "(4, 5, 6)", source=tmp_path / "a.npz")


# --- sounds, arrays

def write_wav(path, values, rate=8000, width=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(values.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        raw = values.astype("<i4") + (128 if width == 1 else 0)
        out.writeframes(raw.reshape(-1).view(np.uint8).reshape(-1, 4)[:, :width].tobytes())


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_folders(tmp_path, width, channels):
    top = 2 ** (8 * width - 1)
    values = np.random.default_rng(width).integers(-top, top, (50, channels))
    values[:2] = [[-top], [top - 1]]
    for name in ("yes/0", "yes/1", "no/0"):
        write_wav(tmp_path / f"{name}.wav", values, width=width)
    d = data.open(tmp_path, validation=0)
    assert d.shape == (50, channels) and d.classes == ["no", "yes"] and d.train.images.dtype == np.float32
    assert np.allclose(d.train.images[0], values / top, atol=1e-7) and d.train.images[0].min() == -1
    assert (data.load(tmp_path / "yes" / "0.wav", channels) == d.train.images[0]).all()


def test_wavs_of_differing_length_are_fitted(tmp_path):
    for i, n in enumerate((30, 50, 41)):
        write_wav(tmp_path / "ab"[i % 2] / f"{i}.wav", np.full((n, 1), 1000))
    d = data.open(tmp_path, validation=0)
    assert d.shape == (None, 1)
    (x, y), = Batches(d.train, 8, [("fit", {"n": 40}), ("noise", {"sigma": 0.01})], shape=(40, 1))
    assert x.shape == (3, 40, 1) and x.dtype == np.float32
    with pytest.raises(NetError, match="needed"):
        Batches(d.train, 8, shape=(40, 1))


def test_wavs_that_do_not_fit(tmp_path):
    for name in ("a/0", "b/0"):
        write_wav(tmp_path / f"{name}.wav", np.zeros((30, 1)))
    write_wav(tmp_path / "b/1.wav", np.zeros((30, 1)), rate=16000)
    fails("b/1.wav", "16000", "8000", source=tmp_path)
    write_wav(tmp_path / "b/1.wav", np.zeros((30, 2)))
    fails("b/1.wav", "channels: 2", source=tmp_path)
    write_wav(tmp_path / "b/1.wav", np.zeros((30, 1)))
    whole = (tmp_path / "b/1.wav").read_bytes()
    for part in (whole[:70], whole[:20], b"", b"garbage" * 20):
        (tmp_path / "b/1.wav").write_bytes(part)
        fails("b/1.wav", "--skip-bad", source=tmp_path)
        assert len(data.open(tmp_path, skip_bad=True).skipped) == 1
    save(tmp_path / "b" / "1.png", picture(0))
    fails("image and sounds", source=tmp_path)


def test_volumes_and_clips(tmp_path):
    for name, i in (("a/0", 0), ("a/1", 1), ("b/0", 2)):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "v" / f"{name}.npy", np.full((4, 5, 6, 2), i, np.float32))
    d = data.open(tmp_path / "v", validation=0)
    assert d.shape == (4, 5, 6, 2) and d.train.images[:, 0, 0, 0, 0].tolist() == [0, 1, 2]
    mean, std = data.measure(d.train)
    assert np.allclose(mean, 1) and np.allclose(std, np.sqrt(2 / 3))
    np.save(tmp_path / "v/b/0.npy", np.zeros((4, 5, 6)))
    fails("float64", "float32", source=tmp_path / "v")
    np.save(tmp_path / "v/b/0.npy", np.zeros((4, 5, 6), np.float32))
    fails("b/0.npy", "axes: 2", source=tmp_path / "v")
    np.save(tmp_path / "v/b/0.npy", np.array([{}]), allow_pickle=True)
    fails("b/0.npy", "cannot be read", source=tmp_path / "v")
    for i in range(3):
        for folder, array in (("image", np.zeros((4, 5, 6, 1), np.uint8)), ("label", np.full((4, 5, 6), i))):
            (tmp_path / "m" / folder).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "m" / folder / f"{i}.npy", array)
    d = data.open(tmp_path / "m", validation=0)
    assert d.train.labels.shape == (3, 4, 5, 6) and d.classes == ["0", "1", "2"]


def test_npz_of_any_number_of_axes(tmp_path):
    for shape, became in (((4, 7), (7,)), ((4, 7, 1), (7, 1)), ((4, 7, 6), (7, 6, 1)), ((4, 2, 3, 4, 1), (2, 3, 4, 1))):
        np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.float32), y=[0, 1, 0, 1])
        assert data.open(tmp_path / "a.npz", validation=0).shape == became


def test_kept_samples_are_bounded_and_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MEMORY_LIMIT", 1000)
    for i in range(20):
        save(tmp_path / "ab"[i % 2] / f"{i}.png", picture(i))
    split = data.open(tmp_path, validation=0).train
    assert isinstance(split.images, media.Lazy) and split.shape == (None, None, 3)
    passes = [np.concatenate([x for x, _ in Batches(split, 6, shuffle=False, threads=t)]) for t in (3, 1)]
    assert (passes[0] == passes[1]).all()
    store = split.images.store
    assert 0 < store.spent <= 1000 and split.take(np.arange(3)).images.store is store
    monkeypatch.setattr(split.images.files, "read", lambda name: pytest.fail("read again"))
    kept = next(i for i, name in enumerate(split.images.names) if store.get((name, None)) is not None)
    assert (split.images.get(kept) == passes[0][kept]).all()


def test_large_photos_are_decoded_smaller(tmp_path, monkeypatch):
    yy, xx = np.mgrid[:600, :800]
    photo = np.stack([yy // 3, xx // 4, (yy + xx) // 6], -1).astype(np.uint8)
    (tmp_path / "a").mkdir()
    for i in range(2):
        Image.fromarray(photo).save(tmp_path / "a" / f"{i}.jpg", quality=95)
    plain = data.open(tmp_path, validation=0).train
    monkeypatch.setattr(media, "MEMORY_LIMIT", 1000)
    lazy = data.open(tmp_path, validation=0).train
    step = [("resize", {"n": 64})]
    (x, _), = Batches(plain, 2, step, augment=False)
    (y, _), = Batches(lazy, 2, step, augment=False)
    assert x.shape == y.shape == (2, 64, 85, 3) and np.abs(x.astype(int) - y).max() <= 3
    assert lazy.images.get(0, 64).shape == (150, 200, 3) and lazy.images.get(0, 200).shape == (600, 800, 3)


# --- lists

def listed(tmp_path, text, name="list.csv"):
    for i in range(4):
        save(tmp_path / "pics" / f"{i}.png", picture(i))
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.mark.parametrize("text", [
    "file,label\npics/0.png,dog\npics/1.png,cat\npics/2.png,dog\n",
    "\ufeffLabel;Path\ndog;pics/0.png\ncat;pics/1.png\ndog;pics/2.png",
    "pics/0.png\tdog\npics/1.png\tcat\npics/2.png\tdog\n", "pics/0.png,dog\r\n\r\npics/1.png, cat\r\npics/2.png,dog"])
def test_lists(tmp_path, text):
    d = data.open(listed(tmp_path, text), validation=0)
    assert d.classes == ["cat", "dog"] and d.train.labels.tolist() == [1, 0, 1]
    assert all((d.train.images[i] == picture(i)).all() for i in range(3))


def test_lists_with_splits_and_numbers(tmp_path):
    rows = "file,label,split\npics/0.png,0,train\npics/1.png,1,train\npics/2.png,1,test\npics/3.png,0,val\n"
    d = data.open(listed(tmp_path, rows))
    assert (len(d.train), len(d.val), len(d.test)) == (2, 1, 1) and d.classes == ["0", "1"]
    listed(tmp_path, "pics/0.png,10\npics/1.png,9\npics/2.png,10\n", "train.csv")
    with pytest.raises(NetError, match="out of range"):
        data.open(tmp_path)
    listed(tmp_path, "pics/0.png,b\npics/1.png,a\n", "train.csv")
    listed(tmp_path, "pics/2.png,b\n", "test.csv")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in [tmp_path / "train.csv", tmp_path / "test.csv", *tmp_path.glob("pics/*")]:
            archive.write(path, path.relative_to(tmp_path).as_posix())
    d = data.open(tmp_path / "z.zip")
    assert d.train.labels.tolist() == [1, 0] and len(d.val) == 1


@pytest.mark.parametrize("text, words", [
    ("a,b\n1,2\n", "`file` and `label`"), ("file,label\npics/9.png,a\n", "pics/9.png"), ("", "empty"),
    ("file,label\npics/0.png\n", "line 2 has no label"), ("file,label\nnotes.txt,a\n", "line 2: `notes.txt`"),
    ("pics/0.png,a\n\nnotes.txt,a\n", "line 3: `notes.txt`"),
    ("file,label,split\npics/0.png,a,dev\n", "line 2: split `dev`"),
    ("file,label,split\npics/0.png,a,train\npics/1.png,b,test", "class `b` is not in the training part")])
def test_lists_that_do_not_fit(tmp_path, text, words):
    fails(words, source=listed(tmp_path, text))


def columns(tmp_path, table, name="list.parquet"):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    listed(tmp_path, "")
    parquet.write_table(pyarrow.table(table), tmp_path / name)
    return tmp_path / name


def test_lists_in_parquet(tmp_path):
    rows = {"weight": [0.5, 1.0, 2.0], "Path": ["pics/0.png", "pics/1.png", "pics/2.png"],
            "class": ["dog", "cat", "dog"], "split": ["train", "train", None]}
    d = data.open(columns(tmp_path, rows), validation=0)
    assert d.classes == ["cat", "dog"] and d.train.labels.tolist() == [1, 0, 1]
    assert all((d.train.images[i] == picture(i)).all() for i in range(3))


def test_a_folder_with_lists_in_parquet(tmp_path):
    columns(tmp_path, {"file": ["pics/1.png", "pics/0.png"], "label": [1, 0]}, "train.parquet")
    columns(tmp_path, {"file": ["pics/3.png"], "label": [1]}, "test.parquet")
    d = data.open(tmp_path)
    assert d.train.labels.tolist() == [1, 0] and d.test.labels.tolist() == [1] and d.classes == ["0", "1"]
    assert (d.train.images[0] == picture(1)).all()
    (tmp_path / "train.csv").write_text("pics/0.png,0\n")
    fails("both train.csv and train.parquet", source=tmp_path)


@pytest.mark.parametrize("table, words", [
    ({"a": ["1"], "b": ["2"]}, "`file` and `label`"), ({"file": ["x.txt"], "label": [1]}, "row 1: `x.txt`"),
    ({"file": ["pics/0.png", "pics/1.png"], "label": ["a", None]}, "row 2 has no label")])
def test_lists_in_parquet_that_do_not_fit(tmp_path, table, words):
    fails(words, source=columns(tmp_path, table))


def test_a_file_that_is_no_parquet(tmp_path):
    columns(tmp_path, {"file": []}).write_bytes(b"PAR1 but for its end")
    fails("cannot be read as Parquet", source=tmp_path / "list.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    fails("pyarrow", "tinyconv[parquet]", source=tmp_path / "list.parquet")
