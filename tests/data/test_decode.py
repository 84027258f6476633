"""What an image file becomes: RGB, upright, of the asked size."""

from __future__ import annotations

import numpy as np
from image_trees import encoded, picture
from PIL import Image

from mulnb.data import decode


def test_every_mode_becomes_rgb():
    def rgb(image, kind="PNG", **options):
        return decode.pixels(encoded(image, kind, **options))[0]

    grey = picture(0, mode="L")
    assert np.array_equal(rgb(grey), np.stack([np.asarray(grey)] * 3))
    palette = picture(1).quantize(16)
    assert np.array_equal(rgb(palette), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    deep = np.arange(36, dtype=np.uint16).reshape(6, 6) * 1820
    assert np.array_equal(rgb(Image.fromarray(deep))[0], deep // 256)
    glass = np.zeros((6, 6, 4), np.uint8)
    glass[:3] = (10, 20, 30, 255)  # the lower half is transparent
    seen = rgb(Image.fromarray(glass))
    assert (seen[:, :3] == np.array([10, 20, 30])[:, None, None]).all() and (seen[:, 3:] == 255).all()
    ink = Image.new("CMYK", (6, 6), (255, 0, 0, 0))
    cyan = rgb(ink, "JPEG")
    assert (cyan[0] < 10).all() and (cyan[1:] > 245).all()


def test_an_image_stands_upright_and_an_animation_stands_still():
    image, turned = picture(2, size=(8, 4)), Image.Exif()
    turned[0x0112] = 6  # the camera was held a quarter turn to the left
    upright, size = decode.pixels(encoded(image, exif=turned))
    assert size == (4, 8)
    assert np.array_equal(upright, np.asarray(image.transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1))
    frames = [picture(seed).quantize(8) for seed in (3, 4)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode.pixels(moving)[0], np.asarray(frames[0].convert("RGB")).transpose(2, 0, 1))


def test_a_large_jpeg_is_resized_as_a_whole():
    ramp = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    small, size = decode.pixels(encoded(Image.fromarray(ramp), "JPEG"), 10)
    assert small.shape == (3, 10, 10) and size == (400, 300)
    assert np.allclose(small[0], np.linspace(0, 255, 21)[1::2], atol=6)
