"""Data sets known by name: where they are published, their checksums, and the cache they are fetched into.

The folder of the cache is $TINYCONV_CACHE, else the user's cache folder of the system. Checksums are the MD5 sums that
the publishers give (for MNIST, its mirrors): they tell damage and mix-ups, not forgery.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import NetError
from .bundled import CLASSES
from .files import Files, Folder, Tarball, reason

_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz")


@dataclass(frozen=True)
class KnownSet:
    """A published data set. words: what it holds; bases: addresses that have all its files, tried in order; checksums:
    (name, MD5) of each file; classes: their names, where the files do not tell them."""

    name: str
    words: str
    bases: tuple[str, ...]
    checksums: tuple[tuple[str, str], ...]
    classes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return cache() / self.name

    @property
    def fetched(self) -> bool:
        """Whether all files are there; they were checked when they came."""
        return all((self.folder / name).is_file() for name, _ in self.checksums)

    def fetch(self, note: Callable[[str], None] = lambda message: None) -> None:
        """Downloads what is missing, and checks everything. NetError where no address gives a file as it should be."""
        for name, md5 in self.checksums:
            _fetch(name, md5, self.folder, self.bases, note)

    def files(self) -> Files:
        """The files to read; NetError where they were not fetched."""
        if not self.fetched:
            raise NetError(f"{self.name} is not on this machine", help=f"`tinyconv data {self.name}` fetches it")
        archives = [name for name, _ in self.checksums if name.endswith(".tar.gz")]
        return Tarball(self.folder / archives[0]) if archives else Folder(self.folder)


SETS = {known.name: known for known in (
    KnownSet("mnist", "60,000 + 10,000 handwritten digits, 28x28 x1, 10 classes; 12 MB",
             ("https://ossci-datasets.s3.amazonaws.com/mnist/",
              "https://storage.googleapis.com/cvdf-datasets/mnist/"),
             tuple(zip(_IDX, ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                              "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c")))),
    KnownSet("fashion-mnist", "60,000 + 10,000 articles of clothing, 28x28 x1, 10 classes, MIT licence; 31 MB",
             ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
              "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
             tuple(zip(_IDX, ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                              "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"))),
             tuple(CLASSES)),
    KnownSet("cifar-10", "50,000 + 10,000 photos, 32x32 x3, 10 classes; 170 MB",
             ("https://www.cs.toronto.edu/~kriz/",),
             (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),)),
    KnownSet("cifar-100", "50,000 + 10,000 photos, 32x32 x3, 100 classes; 169 MB",
             ("https://www.cs.toronto.edu/~kriz/",),
             (("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),)),
)}


def cache() -> Path:
    """The folder that known sets are fetched into."""
    import pooch

    return Path(os.environ.get("TINYCONV_CACHE") or pooch.os_cache("tinyconv"))


def _fetch(name: str, md5: str, folder: Path, bases: tuple[str, ...], note: Callable[[str], None]) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # what it does is told by `note`
    failures = []
    for base in bases:
        if not (folder / name).is_file():
            note(f"fetching {base}{name}")
        try:
            pooch.retrieve(base + name, f"md5:{md5}", name, folder)
            return
        except requests.exceptions.RequestException as error:
            failures.append(f"{base}{name}: {type(error).__name__}")
        except ValueError:  # pooch's word for a wrong checksum; the file is dropped
            failures.append(f"{base}{name}: its checksum is wrong")
        except OSError as error:
            raise NetError(f"cannot write {folder / name}: {reason(error)}") from error
    listing = "".join(f"\n    {failure}" for failure in failures)
    raise NetError(f"{name} cannot be fetched:{listing}", help=f"put the file into {folder} by other means")
