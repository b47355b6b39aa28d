"""Weights files: safetensors, with the net's text in the metadata. https://github.com/huggingface/safetensors

A file is 8 bytes (the header's length, little-endian), a JSON header (name -> dtype, shape, offsets; `__metadata__`:
text to text), then the arrays. Equal contents give equal bytes. Nothing is ever unpickled: reading a file from anywhere
runs no code.

Metadata of a tinyconv file, all text:
  tinyconv.format   "1"
  tinyconv.net      the self-contained `.net` text
  tinyconv.classes  JSON list of class names, in the order of the output's channels (absent where unknown)
  tinyconv.test     JSON list of [step, {parameter: value}]: the pipeline that images to be classified go through
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Container, Iterable, Mapping

from .errors import NetError
from .files import replacing

if TYPE_CHECKING:
    import numpy as np

FORMAT = "1"
TRAINING = ("optimizer.", "state.")  # names of arrays that only training reads
SHOWN = 8  # how many tensors of a kind an error lists

# safetensors' name of each dtype written; sizes fall so that every array stays aligned to its item size
DTYPES = {"float64": "F64", "int64": "I64", "uint64": "U64", "float32": "F32", "int32": "I32", "uint32": "U32",
          "float16": "F16", "int16": "I16", "uint16": "U16", "int8": "I8", "uint8": "U8", "bool": "BOOL"}


def describe(text: str, class_names: Iterable[str] | None = None, test: Iterable[tuple] = ()) -> dict[str, str]:
    """The metadata of a tinyconv file; `test` is the pipeline as `lang.sections` gives it: (step, parameters, …)."""
    metadata = {"tinyconv.format": FORMAT, "tinyconv.net": text}
    if class_names is not None:
        metadata["tinyconv.classes"] = json.dumps(list(class_names), ensure_ascii=False)
    metadata["tinyconv.test"] = json.dumps([[step[0], dict(step[1])] for step in test], sort_keys=True)
    return metadata


def net_text(metadata: Mapping[str, str], path: str) -> str:
    """The net kept in a file's metadata; NetError where there is none."""
    if "tinyconv.net" not in metadata:
        raise NetError(f"{path} holds no net", help="give a file written by net.save or tinyconv train")
    return metadata["tinyconv.net"]


def class_names(metadata: Mapping[str, str], path: str) -> list[str] | None:
    """The class names kept in a file's metadata, or None; NetError where they are no list of texts."""
    try:
        names = json.loads(metadata.get("tinyconv.classes", "null"))
    except ValueError:
        names = ()
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise NetError(f"cannot read {path}: its list of class names is damaged", help="get the file again")
    return names


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray],
          metadata: Mapping[str, str] | None = None) -> None:
    """Writes named arrays; `path` is replaced whole or, with a NetError, left as it was."""
    import numpy as np

    # The header is made here because the library's order of metadata changes from one process to the next.
    header: dict[str, object] = {"__metadata__": dict(sorted((metadata or {}).items()))}
    order = list(DTYPES)
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise NetError(f"cannot save `{name}`: weights files hold no {array.dtype.name}")
    names = sorted(arrays, key=lambda name: (order.index(arrays[name].dtype.name), name))
    offset = 0
    for name in names:
        array = arrays[name]
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with replacing(path) as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in names:
            little = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file, whoever wrote it. Arrays are copies, in the order of their names.

    A file that is missing, unreadable, cut short, of another kind or of a later format is a NetError.
    """
    from safetensors import SafetensorError, safe_open

    shown = os.fspath(path)
    try:
        with open(path, "rb") as file:  # before the library, whose words for these errors name no file
            empty = not file.read(1)
        if empty:
            raise NetError(f"cannot read {shown}: the file is empty")
        with safe_open(shown, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise NetError(f"cannot read {shown}: {error.strerror or error}") from error
    except (SafetensorError, TypeError, AttributeError, ValueError) as error:  # the middle two: dtypes NumPy has not
        raise NetError(f"cannot read {shown}: not a safetensors file, or a damaged one ({error})") from error
    version = metadata.get("tinyconv.format", FORMAT)
    if version != FORMAT:
        raise NetError(f"cannot read {shown}: it has format {version}, this tinyconv reads format {FORMAT}",
                       help="install a newer tinyconv")
    return tensors, metadata


def fit(shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray], source: str,
        renewed: Container[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of `tensors` for a net that wants `shapes` {name: shape}, as float32.

    Arrays that only training reads (`optimizer.*`, `state.*`) are passed over, and those of `renewed` that differ in
    one axis, the number of classes. Anything missing, left over or of another shape is a NetError that lists them;
    `source` names the file in it.
    """
    import numpy as np

    found = {name: array for name, array in tensors.items() if not name.startswith(TRAINING)}
    anew = {name for name in shapes if name in renewed and name in found and _one_axis(found[name].shape, shapes[name])}
    missing = [name for name in shapes if name not in found]
    unknown = [name for name in found if name not in shapes]
    differ = [name for name in shapes
              if name in found and name not in anew and tuple(found[name].shape) != tuple(shapes[name])]
    kinds = [name for name in shapes if name in found and found[name].dtype.kind != "f"]
    lines = _listed(differ, lambda name: f"`{name}` is {_size(found[name].shape)}, the net has {_size(shapes[name])}")
    lines += _listed(missing, lambda name: f"`{name}` {_size(shapes[name])} is missing in the file")
    lines += _listed(unknown, lambda name: f"`{name}` {_size(found[name].shape)} is not in the net")
    lines += _listed(kinds, lambda name: f"`{name}` holds {found[name].dtype.name}, not floats")
    if lines:
        raise NetError("\n  ".join([f"the weights in {source} do not fit the net:", *lines]))
    return {name: np.asarray(found[name], dtype=np.float32) for name in shapes if name not in anew}


def _one_axis(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(have) == len(wanted) and sum(a != b for a, b in zip(have, wanted)) == 1


def _listed(names: list[str], line) -> list[str]:
    lines = [line(name) for name in names[:SHOWN]]
    return lines + [f"… and {len(names) - SHOWN} more like this"] * (len(names) > SHOWN)


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"
