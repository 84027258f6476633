"""Small copies of a profile's training images, published beside its scores: the explorer then opens without the images.

One sheet, `data/thumbnails.webp`, with the examples row by row in their order; `data/thumbnails.json` has what belongs to it.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulnb import study
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError

SIDE = 12  # pixels; images that are not larger come with the package and need no copies
COLUMNS = 50  # copies in a row of the sheet
QUALITY = 30  # of WebP: 30 bytes a copy, and one can still tell a ship from a lorry
MOST = 10_000  # examples: the sheet of more would be too large to be committed


@dataclass(frozen=True)
class Thumbnails:
    """`images` uint8 [N, C, 12, 12]; the classes' names; the fingerprint of the data that they were made from."""

    images: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str


def write(profile: Profile) -> None:
    """Publish the small copies, if the images are larger than that and not too many.

    Args:
        profile: its images must be there.
    """
    from PIL import Image

    splits = study.splits(profile)
    images = splits.train.images  # [N, C, H, W]
    n, channels, height, _ = images.shape
    if height <= SIDE or n > MOST:
        return

    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-n // COLUMNS) * SIDE))
    for k, image in enumerate(images):
        pixels = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))  # grey: three times the same
        small = Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(small, (k % COLUMNS * SIDE, k // COLUMNS * SIDE))

    packed = io.BytesIO()
    sheet.save(packed, "webp", quality=QUALITY, method=6)
    about = {"n": n, "channels": channels, "classes": list(splits.train.classes), "fingerprint": splits.fingerprint}

    folder = paths.results(profile.name) / "data"
    paths.write_file(folder / "thumbnails.webp", lambda to: to.write_bytes(packed.getvalue()))
    paths.write_text(folder / "thumbnails.json", json.dumps(about, ensure_ascii=False) + "\n")


def read(folder: Path) -> Thumbnails | None:
    """The copies that `write` left in a profile's folder of results.

    Args:
        folder: the profile's folder.

    Returns:
        The copies; None if there are none.

    Raises:
        UserError: a file is damaged.
    """
    from PIL import Image

    sheet, about = folder / "data" / "thumbnails.webp", folder / "data" / "thumbnails.json"
    if not (sheet.is_file() and about.is_file()):
        return None

    try:
        facts = json.loads(about.read_text(encoding="utf-8"))
        n, channels, classes = int(facts["n"]), int(facts["channels"]), tuple(facts["classes"])
        with Image.open(sheet, formats=["webp"]) as opened:
            pixels = np.asarray(opened.convert("RGB"))  # [rows · SIDE, COLUMNS · SIDE, 3]
        copies = pixels.reshape(-1, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE)
        if not 0 < n <= len(copies) or channels not in (1, 3):
            raise ValueError(f"{n} copies of {channels} channels")
        return Thumbnails(np.ascontiguousarray(copies[:n, :channels]), classes, str(facts["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, Image.DecompressionBombError) as error:
        raise UserError(f"{sheet}: damaged ({error}): remove it, or put the images of the data set into {paths.data()}") from None
