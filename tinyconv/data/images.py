"""Image files to uint8 arrays. Pillow is imported when the first image is decoded, not before."""

from __future__ import annotations

import io
import struct
from contextlib import contextmanager

import numpy as np

from ..errors import NetError
from .files import BadFile, reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")

CHANNELS = {1: "grey (1 channel)", 2: "grey with alpha (2 channels)", 3: "RGB (3 channels)", 4: "RGBA (4 channels)"}
_PLAIN = ("L", "LA", "RGB", "RGBA")  # Pillow's modes of 8 bits a channel


def channel_words(channels: int) -> str:
    """'grey (1 channel)', 'RGB (3 channels)', …"""
    return CHANNELS.get(channels, f"{channels} channels")


def decode(data: bytes, label: str, least: int | None = None) -> np.ndarray:
    """The image of a file's bytes, uint8 (height, width, channels); nothing is converted but palettes and bitmaps.

    With `least`, a JPEG is decoded at a half, a quarter or an eighth of its size where its short side then still is at
    least twice `least`, which costs that much less. BadFile (a NetError naming `label`) where the bytes are no whole
    image; NetError for 16-bit, CMYK and the like.
    """
    with _opened(data, label) as image:
        mode = image.mode
        if least is not None and image.format == "JPEG":
            w, h = image.size
            part = next((k for k in (8, 4, 2) if min(w, h) // k >= 2 * least), 1)
            if part > 1:
                image.draft(None, (w // part, h // part))
        if mode == "1":
            image = image.convert("L")
        elif mode in ("P", "PA"):
            image = image.convert("RGBA" if "transparency" in image.info or mode == "PA" else "RGB")
        if image.mode in _PLAIN:
            array = np.asarray(image)
            return array[:, :, None] if array.ndim == 2 else array
    raise NetError(f"{label}: pixel format {mode} is not supported",
                   help="convert the images to 8-bit grey or RGB first")


def decode_mask(data: bytes, label: str) -> np.ndarray:
    """The mask of a file's bytes, uint8 (height, width): grey values, or the numbers of a palette; errors as `decode`.
    """
    with _opened(data, label) as image:
        if image.mode in ("1", "L", "P"):
            return np.array(image.convert("L") if image.mode == "1" else image)
        mode = image.mode
    raise NetError(f"{label}: a mask of pixel format {mode}; masks are 8-bit grey, each value the number of a class",
                   help="write the masks as grey PNG files with class numbers, or 0 and 255")


@contextmanager
def _opened(data: bytes, label: str):
    """A Pillow image; whatever goes wrong with it, then or later in the block, as a BadFile or NetError."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except Image.UnidentifiedImageError:
        raise BadFile(f"{label}: not an image that can be decoded") from None
    except Image.DecompressionBombError as error:
        raise NetError(f"{label}: refused: {reason(error)}") from error
    # Pillow reports damage as any of these, by format.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError, struct.error) as error:
        raise BadFile(f"{label}: truncated or corrupt image: {reason(error)}") from error


def check_channels(image: np.ndarray, channels: int | None, label: str) -> None:
    """NetError where an (h, w, c) image has other channels than wanted (None: anything)."""
    have = image.shape[-1]
    if channels is not None and have != channels:
        wanted = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
        fix = f'convert it, say with Pillow: Image.open(p).convert("{wanted}").save(q)' if wanted else ""
        raise NetError(f"{label}: {channel_words(have)}, where {channel_words(channels)} is needed", help=fix)
