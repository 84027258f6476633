"""PIL images of odd modes: read as what they hold, or refused; never black without a word."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mulnb.core.errors import UserError
from mulnb.your_model import pictures

GREY = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7


def test_a_picture_in_floating_point_keeps_its_values():
    image = Image.fromarray(GREY.astype(np.float32) / 255)
    assert image.mode == "F"
    assert np.array_equal(pictures.picture(image, "image")[0], GREY.astype(np.float32) / 255)


def test_thirty_two_bits_hold_sixteen_or_are_refused():
    wide = Image.fromarray(GREY.astype(np.int32) * 257)
    assert wide.mode == "I"
    assert np.array_equal(pictures.picture(wide, "image")[0], GREY)
    for values in (GREY.astype(np.int32), GREY.astype(np.int32) - 5, GREY.astype(np.int32) * 1000):
        with pytest.raises(UserError, match=r"^image 3: the picture \(mode I\) cannot be read: its values are not"):
            pictures.picture(Image.fromarray(values), "image 3")


def test_a_mode_that_cannot_be_converted():
    with pytest.raises(UserError, match=r"^image 3: the picture \(mode La\) cannot be read"):
        pictures.picture(Image.fromarray(GREY).convert("LA").convert("La"), "image 3")
