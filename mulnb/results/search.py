"""The page of the recorded hyper-parameter search: winners and runners-up first, then the whole surface."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import METRICS, label
from mulnb.results import markdown, written

TEXTS = ("algorithm", "strategy", "settings", "seeds", "scores")
NUMBERS = ("tow", "tow_mia", "objective", "passes_retain", "n", "round")
NUMBERS_OR_NONE = ("se", "unconverged")  # one seed has no standard error, and earlier versions did not count the second
COLUMNS = (*TEXTS, *NUMBERS, "se", "chosen", "edge")  # of `tune.csv`; some have `unconverged`, too


def kept(profile: Profile, searched: Container[str]) -> pd.DataFrame | None:
    """What earlier searches of a profile have found for other algorithms.

    Args:
        profile: whose searches.
        searched: the algorithms whose rows are found anew.

    Returns:
        Rows of `tune.csv`, or None if there are none.

    Raises:
        UserError: the table is damaged, or has rows that no search writes.
    """
    path = paths.find_result(profile.name, "tune.csv")
    if not path.is_file():
        return None

    found = written.table(path, COLUMNS, dtype=dict.fromkeys(TEXTS, str))
    for what, bad in _wrong(found):
        if bad.any():
            raise UserError(f"{path}: row {int(bad.argmax()) + 1} {what}: correct it, or remove the file and search again")
    others = found[[name not in searched for name in found["algorithm"]]]
    return others if len(others) else None


def _wrong(table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """What no search writes, and a mask of the rows that have it."""
    for name in TEXTS:
        yield f"has nothing in the column {name}", table[name].isna().to_numpy()
    for name in NUMBERS:
        yield f"has no number in the column {name}", ~np.isfinite(_numbers(table[name]))
    for name in NUMBERS_OR_NONE:
        if name in table:
            yield f"has no number in the column {name}", ~np.isfinite(_numbers(table[name])) & table[name].notna().to_numpy()
    yield "has neither True nor False in the column chosen", ~table["chosen"].isin([True, False, "True", "False"]).to_numpy()
    yield "has settings that are no JSON", np.array([not _are_settings(text) for text in table["settings"]], dtype=bool)


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)


def _are_settings(text: str) -> bool:
    """Whether a cell has the settings of a strategy, or of each of its stages."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    stages = found if isinstance(found, list) else [found]
    return all(isinstance(stage, dict) for stage in stages)


def page(frame: pd.DataFrame, profile: Profile, caption: str) -> str:
    """What the search found, how sure that is, and every candidate.

    Args:
        frame: the table of `tune.csv`: `algorithm strategy settings tow tow_mia objective chosen`, and perhaps `se` (standard
            error of the objective over seeds and scores), `unconverged` (runs whose original or oracle did not fit), `edge` (axes
            on whose end the winner stands) and `round` (0 for the declared grid, 1, 2 … for extensions).
        profile: whose search this is.
        caption: what the table shows.

    Returns:
        Markdown.
    """
    frame, shared = _without_shared(frame)
    always = f" Always: {_settings(json.dumps(shared))}." if shared else ""

    parts = [f"**{profile.title}** (profile `{profile.name}`). {caption} {_about(frame)}{always}"]
    parts += ["### Winners", markdown.grid(_winners(frame))]
    parts += ["### Every candidate", _surface(frame)]
    return "\n\n".join(parts) + "\n"


def _without_shared(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table without the settings that every candidate has, and these: they are said once."""
    candidates = [json.loads(text) for text in frame["settings"]]
    if not all(isinstance(settings, dict) for settings in candidates):
        return frame, {}

    shared = dict(candidates[0])
    for settings in candidates:
        shared = {name: value for name, value in shared.items() if name in settings and settings[name] == value}

    own = []
    for settings in candidates:
        own.append(json.dumps({name: value for name, value in settings.items() if name not in shared}))
    return frame.assign(settings=own), shared


def _about(frame: pd.DataFrame) -> str:
    """What the columns are, as far as they are there."""
    text = "The objective is the mean of ToW + ToW-MIA."
    if "se" in frame:
        text += " ±: its standard error over seeds and scores; a runner-up within two of them might as well have won."
    if "round" in frame and (frame["round"] > 0).any():
        text += (
            " An axis on whose end a winner stood was extended and searched again (round 1 and later), as far as the profile's "
            "`tune.extend` allows; what is still named under *on an edge* ends there."
        )
    if "unconverged" in frame and (frame["unconverged"] > 0).any():
        text += markdown.UNFIT_NOTE
    return text


def _surface(frame: pd.DataFrame) -> str:
    """Every candidate with what it reached, in a table without padding: there may be hundreds."""
    rows = []
    for _, tried in frame.iterrows():
        row = {
            "algorithm": label(tried["algorithm"]),
            "strategy": label(tried["strategy"]),
            "settings": _settings(tried["settings"]),
        }
        for metric in METRICS:
            if metric in frame:
                row[label(metric)] = f"{tried[metric]:.3f}"
        row["objective"] = _objective(tried)
        if "round" in frame:
            row["round"] = str(tried["round"])
        row["chosen"] = "yes" if tried["chosen"] else ""
        rows.append(row)

    table = re.sub(" {2,}", " ", markdown.grid(pd.DataFrame(rows)))
    return re.sub("-{3,}", "---", table)


def _winners(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per algorithm and strategy: winner, runner-up, and how far apart they are."""
    rows = []
    for (algorithm, strategy), group in frame.groupby(["algorithm", "strategy"], sort=False):
        ranked = group.sort_values("objective", ascending=False, kind="stable")
        winner, others = ranked.iloc[0], ranked.iloc[1:]
        row = {
            "algorithm": label(algorithm),
            "strategy": label(strategy),
            "candidates": str(len(group)),
            "winner": _settings(winner["settings"]),
            "objective": _objective(winner),
            "runner-up": _settings(others.iloc[0]["settings"]) if len(others) else "–",
            "behind by": f"{winner['objective'] - others.iloc[0]['objective']:.3f}" if len(others) else "–",
        }
        if "edge" in frame:
            row["on an edge"] = str(winner["edge"]) if isinstance(winner["edge"], str) and winner["edge"] else "no"
        rows.append(row)
    return pd.DataFrame(rows)


def _objective(row: pd.Series) -> str:
    error = f" ± {row['se']:.3f}" if "se" in row and pd.notna(row["se"]) else ""
    unfit = f" {markdown.UNFIT}" if row.get("unconverged", 0) > 0 else ""  # nan: of a search that did not count them
    return f"{row['objective']:.3f}{error}{unfit}"


def _settings(text: str) -> str:
    """'{"lr": 0.1, "epochs": 5}' → "lr 0.1, epochs 5"."""
    settings = json.loads(text)
    if isinstance(settings, dict):
        return ", ".join(f"{name} {value}" for name, value in settings.items())
    return " / ".join(_settings(json.dumps(stage)) for stage in settings)
