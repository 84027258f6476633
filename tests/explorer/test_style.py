"""The colours of the strata: told apart by everybody, in both themes, also on the map, where they have no names beside them."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from mulnb.core.vocabulary import STRATA
from mulnb.explorer.canvas import HERE

# Linear RGB as it is seen without one kind of cone (Machado, Oliveira & Fernandes 2009, severity 1).
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
APART = 25  # ΔE in CIELAB; about 2 is the least that can be seen side by side


def colors(theme: str) -> dict[str, np.ndarray]:
    """The strata's colours and that of the retained examples, as linear RGB."""
    light, dark = re.findall(r"\.mx \{([^}]*)\}", (HERE / "style.css").read_text())[:2]
    found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        found |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", dark))
    return {name: linear(found[name]) for name in (*STRATA, "bar")}


def linear(color: str) -> np.ndarray:
    value = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    share = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_the_strata_are_told_apart_without_some_cones(theme, sight):
    seen = {name: lab(np.array(SIGHT[sight]) @ color) for name, color in colors(theme).items()}
    apart = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(seen, 2)}
    assert min(apart.values()) > APART, apart
