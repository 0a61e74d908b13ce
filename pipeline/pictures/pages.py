"""HTML pages that stand by themselves: Jinja templates with every picture inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = {"jpeg": "image/jpeg", "png": "image/png", "svg": "image/svg+xml"}


def load_template(path: Path, percent: Callable[[float], str]) -> jinja2.Template:
    """A template whose filters `jpeg`, `png` and `svg` embed a picture, and `percent` a share.

    What is filled in is escaped, and a name that is not given is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: _embedding(kind) for name, kind in KINDS.items()}
    environment.filters["percent"] = percent
    return environment.get_template(path.name)


def _embedding(kind: str) -> Callable[[bytes | str], str]:
    def embed(picture: bytes | str) -> str:
        content = picture.encode() if isinstance(picture, str) else picture
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    return embed


def encode_jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """A grey (H, W) or RGB (H, W, 3) uint8 picture as the bytes of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality)
    return file.getvalue()


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A grey (H, W) or RGB (H, W, 3) uint8 picture as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()
