"""The choosing half of the explorer as a page: thresholds and strata over precomputed scores, by a script in the browser.

A page from disk may not read other files, but it may load a script from beside it. So the images and scores travel as a script
that defines one object, with arrays as base64.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pandas as pd

from mulnb import config, proxies
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import PROXIES, label
from mulnb.data import load_data
from mulnb.results import publish

LARGEST = 2e6  # bytes of images that a page may carry


def data_script(profile_name: str) -> str | None:
    """The images and scores of a profile, as a script that defines `window.MULNB`.

    Args:
        profile_name: a profile that the package ships, with published results.

    Returns:
        The script. None if there are no published scores, or if the images are not on this machine or too large for a page.
    """
    exact, scored = publish.load(profile_name, "memorization"), publish.load(profile_name, "proxies")
    if exact is None or scored is None or profile_name not in config.known_profiles():
        return None

    profile = config.load_profile(profile_name)
    try:
        train = load_data(profile).train
    except UserError:
        return None  # not downloaded: a site is built from what is there
    if train.images.nbytes > LARGEST:
        return None
    if not np.array_equal(train.labels, exact["label"]):
        return None  # the results were computed with other settings of the data

    n, channels, side, _ = train.images.shape
    seed = profile.seeds[0]
    tree = {
        "title": profile.title,
        "n": n,
        "channels": channels,
        "side": side,
        "classes": list(train.classes),
        "size": profile.forget.size,
        "seed": seed,
        "images": _packed(train.images.transpose(0, 2, 3, 1)),  # [N, H, W, C], as a canvas draws them
        "labels": _packed(train.labels.astype(np.uint8)),
        "flipped": _packed(exact["flipped"].to_numpy().astype(np.uint8)),
        "scores": _scores(exact, scored[scored.seed == seed]),
    }
    return f"window.MULNB = {json.dumps(tree, ensure_ascii=False)};\n"


def _scores(exact: pd.DataFrame, scored: pd.DataFrame) -> list[dict[str, Any]]:
    """Memorization first, then the proxies in their order; each with its name, unit, centre and values."""
    values = {"memorization": exact["memorization"].to_numpy()}
    for name in PROXIES:
        rows = scored[scored.proxy == name]
        if len(rows) == len(exact):
            values[name] = rows.sort_values("example")["value"].to_numpy()

    found = []
    for name, score in values.items():
        centre = proxies.centre(name)
        middle = float(np.median(score)) if centre == "median" else float(centre)
        found.append({"label": label(name), "unit": proxies.unit(name), "middle": middle, "values": _packed(score.astype("<f4"))})
    return found


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
