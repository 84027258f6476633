"""The threshold explorer of notebook 06: choose strata by threshold or by size, look into them, unlearn them, take them along.

Only widgets and their wiring are here: `selection` knows what a choice means, `sketches` draws it, `workbench` unlearns it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from mulnb import forget, study
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.explorer import pictures as sketches
from mulnb.explorer import selection, svg
from mulnb.explorer.selection import Ranking, Stock
from mulnb.explorer.workbench import Choice, Voice, Workbench, dropdown, panel, row, text
from mulnb.forget import Strata
from mulnb.proxies import unit

INTRO = """<h3>1 · Choose a forget set</h3>
<p>A forget set has three strata: the <b>low</b>est, the <b>medium</b> and the <b>high</b>est scores. Move a threshold or a size
(drag it, or click it and press the arrow keys): the wider a stratum, the less it differs from the others, and the less there
is to refine.</p>"""
LIVE = """<h3>2 · Unlearn it, and compare</h3>
<p>Vanilla unlearns the whole set at once and is the reference; RUM<sup>F</sup> goes stratum by stratum. ToW and ToW-MIA say how
close the result is to an oracle retrained without the set (1 is best).</p>"""
TAKE = """<h3>3 · Take it with you</h3>
<p>Indices, settings and a hash as JSON: for <code>mulnb.forget.load</code>, <code>mulnb run --set forget.file=…</code></p>"""


class Explorer:
    """The explorer of a profile's stored results, as a cell's value. Nothing is trained until a button is pressed.

    Raises `UserError` with the command to give if the profile has no results. `stock`: other results than the stored ones.
    The controls are attributes (`score`, `seed`, `low`, `high`, `sizes`, `equal`, `file`, and those of `bench`), and so is what
    a callback had to complain about: `voice.message.value` and `voice.errors.outputs`.
    """

    def __init__(self, profile: Profile, stock: Stock | None = None) -> None:
        self.profile = profile
        self.stock = stock or selection.stock(profile)
        self.voice = Voice()
        self._given: Strata | None = None  # an imported set that no setting of the controls gives
        self._linking = False
        self._placed: dict[str, list[float]] = {"low": [], "high": []}  # thresholds set from here, not yet answered
        self._make_controls()
        self.panels = {name: panel() for name in ("summary", "sheets")}
        self.panels |= {"distribution": panel("52%"), "growth": panel("36%"), "agreement": panel("52%"), "balance": panel("36%")}
        self.bench = Workbench(profile, lambda: Choice(self.strata, self.score.value, self.seed.value), self.voice)
        self._rank()
        self._wire()
        self.view = self._arranged()
        self.draw()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return (self.view._repr_mimebundle_(**kwargs) or {}) | {"text/plain": repr(self)}

    def __repr__(self) -> str:  # what is left where widgets cannot be shown
        return f"the threshold explorer of profile '{self.profile.name}': open this notebook in JupyterLab to use it"

    # --- what a notebook or a test calls ---------------------------------------------------------------------------------

    @property
    def strata(self) -> Strata:
        """The three strata as they are chosen now."""
        return self._given or self._ranking.strata([slider.value for slider in self.sizes.values()])

    @property
    def results(self) -> pd.DataFrame:
        """The live runs so far: the columns of `study.unlearning`, and `number`, `set` and `sizes`."""
        return self.bench.results

    def choose(self, score: str | None = None, sizes: int | Sequence[int] | None = None, seed: int | None = None) -> Strata:
        """Set the controls from code. Raises `UserError` for what they do not offer."""
        for control, value in ((self.score, score), (self.seed, seed)):
            if value is not None and value not in (offered := [one for _, one in control.options]):
                raise UserError(f"{control.description} {value!r} is not offered: {', '.join(map(str, offered))}")
        self.score.value = score or self.score.value
        self.seed.value = self.seed.value if seed is None else seed
        if sizes is not None:
            three = (sizes,) * 3 if isinstance(sizes, int) else tuple(sizes)
            if len(three) != 3 or not all(1 <= one <= self._ranking.limit for one in three):
                raise UserError(f"sizes {sizes}: expected one or three numbers from 1 to {self._ranking.limit}")
            with self._quietly():
                self.equal.value = len(set(three)) == 1
            self._set_sizes(dict(zip(STRATA, three, strict=True)))
        return self.strata

    def unlearn(self, algorithm: str | None = None, strategy: str | None = None) -> pd.DataFrame:
        """What the button does, and wait for it. Returns `results`; raises the error that the run met."""
        bench = self.bench
        bench.algorithm.value = algorithm or bench.algorithm.value
        bench.strategy.value = strategy or bench.strategy.value
        bench.start()
        if bench.job is not None:
            bench.job.thread.join()
        if bench.error is not None:
            raise bench.error
        return self.results

    def export(self, path: str | Path | None = None) -> forget.ForgetSet:
        """Write the chosen set as JSON; a relative path is meant from `MULNB_HOME`. Raises `UserError` if that is impossible."""
        settings = {"profile": self.profile.name, "score": self.score.value, "seed": self.seed.value}
        if self._given is None:
            settings["sizes"] = [slider.value for slider in self.sizes.values()]
            settings["thresholds"] = [self._ranking.threshold(side, self.sizes[side].value) for side in ("low", "high")]
        return forget.save(self._place(path), self.strata, study.splits(self.profile).fingerprint, len(self.stock), settings)

    def load(self, path: str | Path | None = None) -> forget.ForgetSet:
        """Choose the set that a file holds. Raises `UserError` if the file does not fit these data."""
        found = forget.load(self._place(path), study.splits(self.profile).fingerprint, len(self.stock))
        score, seed = found.settings.get("score"), found.settings.get("seed")
        sizes = [len(part) for part in found.strata]
        self.choose(
            score if score in self.stock.names else None,
            sizes if max(sizes) <= self._ranking.limit else None,
            seed if seed in self.profile.seeds else None,
        )
        same = all(np.array_equal(a, np.sort(b)) for a, b in zip(self.strata, found.strata, strict=True))
        self._given = None if same else found.strata
        self.draw()
        return found

    def draw(self) -> None:
        """Show the strata as they are chosen now."""
        chosen, stock, ranking = self.strata, self.stock, self._ranking
        means = selection.mean_memorization(chosen, stock.memorization, stock.se)
        truth = self._truth.strata([len(part) for part in chosen])
        overlap = selection.overlap(chosen, truth, len(stock))
        counts = selection.class_counts(chosen, stock.labels, len(stock.classes))
        show = {
            "summary": self._summary(chosen, means),
            "distribution": sketches.histogram(ranking, chosen),
            "growth": sketches.growth(*self._curves, chosen, means),
            "sheets": sketches.contact_sheets(stock, ranking, chosen, means),
            "agreement": sketches.agreement(overlap, means, ranking.score),
            "balance": sketches.class_balance(counts, np.bincount(stock.labels, minlength=len(stock.classes)), stock.classes),
        }
        for name, picture in show.items():
            self.panels[name].value = svg.page(picture)
        for name, part in zip(STRATA, chosen, strict=True):
            self.ranges[name].value = svg.page(self._range(name, part))

    # --- widgets ---------------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self.score = dropdown(self.stock.names, "score", "230px")
        self.seed = dropdown(list(self.profile.seeds), "seed", "110px")
        self.equal = widgets.Checkbox(True, description="equal sizes, as in the paper", indent=False, layout={"width": "205px"})
        self.unit = widgets.HTML()
        wide = {"style": {"description_width": "88px"}, "layout": {"width": "320px"}}
        self.low = widgets.FloatSlider(description="low: score ≤", **wide)
        self.high = widgets.FloatSlider(description="high: score ≥", **wide)
        self._blank = widgets.HTML(layout=wide["layout"])
        narrow = {"style": {"description_width": "70px"}, "layout": {"width": "300px"}}
        self.sizes = {name: widgets.IntSlider(min=1, description="examples", **narrow) for name in STRATA}
        self.ranges = {name: widgets.HTML(layout={"width": "200px"}) for name in STRATA}
        self.file = widgets.Text(self._default_file(), description="file", layout={"width": "420px"})
        self.save_button = widgets.Button(description="Export", icon="download")
        self.load_button = widgets.Button(description="Import", icon="upload")

    def _arranged(self) -> widgets.VBox:
        panels, thresholds = self.panels, {"low": self.low, "medium": self._blank, "high": self.high}
        return widgets.VBox(
            [
                widgets.HTML(svg.STYLE),
                text(INTRO),
                row(self.score, self.seed, self.equal, self.unit),
                *(row(self.ranges[name], thresholds[name], self.sizes[name]) for name in STRATA),
                panels["summary"],
                row(panels["distribution"], panels["growth"], align_items="flex-start"),
                panels["sheets"],
                row(panels["agreement"], panels["balance"], align_items="flex-start"),
                text(LIVE),
                self.bench.view,
                text(TAKE),
                row(self.file, self.save_button, self.load_button),
                self.voice.message,
                self.voice.errors,
            ]
        )

    def _wire(self) -> None:
        guard = self.voice.guard
        for control in (self.score, self.seed):
            control.observe(guard(self._on_ranking), "value")
        for side in ("low", "high"):
            getattr(self, side).observe(guard(functools.partial(self._on_threshold, side)), "value")
        for name in STRATA:
            self.sizes[name].observe(guard(functools.partial(self._on_size, name)), "value")
        self.equal.observe(guard(self._on_equal), "value")
        self.save_button.on_click(guard(self._on_save))
        self.load_button.on_click(guard(self._on_load))

    # --- choosing --------------------------------------------------------------------------------------------------------

    def _rank(self) -> None:
        """Another score or seed: other thresholds at the same sizes."""
        score, seed = self.score.value, self.seed.value
        self._ranking = ranking = Ranking(score, self.stock.scores(score, seed), seed)
        self._truth = Ranking("memorization", self.stock.memorization, seed)
        self._curves = ranking.growth(self.stock.memorization)
        self.unit.value = svg.page(f'<span class="note">thresholds in: {unit(score)}</span>')
        first = not hasattr(self, "view")
        sizes = {
            name: min(self.profile.forget.size if first else slider.value, ranking.limit) for name, slider in self.sizes.items()
        }
        with self._quietly():
            for slider in self.sizes.values():
                slider.max = ranking.limit
            _set_range(self.low, ranking.threshold("low", 1), ranking.threshold("low", ranking.limit))
            _set_range(self.high, ranking.threshold("high", ranking.limit), ranking.threshold("high", 1))
        self._link(sizes)

    def _set_sizes(self, sizes: dict[str, int], moved: widgets.Widget | None = None) -> None:
        self._given = None
        self._link(sizes, moved)
        self.draw()

    def _link(self, sizes: dict[str, int], moved: widgets.Widget | None = None) -> None:
        """Set every size and threshold but the slider that the user holds: it stays where it was put."""
        with self._quietly():
            for name, slider in self.sizes.items():
                slider.value = sizes[name]
            for side in ("low", "high"):
                if (slider := getattr(self, side)) is not moved:
                    slider.value = self._ranking.threshold(side, sizes[side])
                    self._placed[side] = [*self._placed[side], slider.value][-100:]

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What the explorer sets itself is not an event."""
        before, self._linking = self._linking, True
        try:
            yield
        finally:
            self._linking = before

    def _on_ranking(self, _: Any) -> None:
        self._given = None
        self._rank()
        self.draw()

    def _on_threshold(self, side: str, change: Any) -> None:
        if not self._linking and not self._is_echo(side, change["new"]):
            self._resize(side, self._ranking.size(side, change["new"]), moved=getattr(self, side))

    def _is_echo(self, side: str, value: float) -> bool:
        """A browser answers each value set from here with the nearest step of its slider, late: that is no move of the user's."""
        near = [abs(value - placed) <= 0.51 * getattr(self, side).step for placed in self._placed[side]]
        self._placed[side] = self._placed[side][near.index(True) :] if any(near) else []
        return any(near)

    def _on_size(self, name: str, change: Any) -> None:
        if not self._linking:
            self._resize(name, change["new"])

    def _resize(self, name: str, size: int, moved: widgets.Widget | None = None) -> None:
        sizes = {other: size if self.equal.value or other == name else slider.value for other, slider in self.sizes.items()}
        self._set_sizes(sizes, moved)

    def _on_equal(self, change: Any) -> None:
        if change["new"] and not self._linking:
            self._set_sizes(dict.fromkeys(STRATA, self.sizes["low"].value))

    def _summary(self, chosen: Strata, means: np.ndarray) -> str:
        count, n = len(chosen.forget), len(self.stock)
        path = " → ".join(f"{mean:.2f}" for mean in means[:, 0])
        shares = f"<b>{count}</b> of {n} examples ({count / n:.0%}) are to be forgotten."
        given = ' <span class="bad">Imported set: moving a control leaves it.</span>' if self._given else ""
        return f"<p>{shares} Mean memorization of low → medium → high: <b>{path}</b>.{given}</p>"

    def _range(self, name: str, part: np.ndarray) -> str:
        values, note = self._ranking.values[part], f"nearest to {svg.number(self._ranking.middle)}"
        if name != "medium":
            taken, tied = self._ranking.ties(name, len(part))
            note = f"{taken} of {tied} ties, by seed" if taken < tied and self._given is None else ""
        words = f"<b>{name}</b> {svg.number(values.min())} … {svg.number(values.max())}"
        colored = f"border-left: 10px solid var(--{name}); padding-left: 6px; line-height: 1.25"
        return f'<div style="{colored}">{words}<br><span class="note">{note}&nbsp;</span></div>'

    # --- files -----------------------------------------------------------------------------------------------------------

    def _default_file(self) -> str:
        path = paths.results(self.profile.name) / "forget_set.json"
        return str(path.relative_to(paths.home()) if path.is_relative_to(paths.home()) else path)

    def _place(self, path: str | Path | None) -> Path:
        return paths.home() / Path(path or self.file.value.strip() or self._default_file()).expanduser()

    def _on_save(self, _: Any) -> None:
        saved = self.export()
        use = f"mulnb run --profile {self.profile.name} --set name=my-set --set forget.file={self.file.value} --stage unlearning"
        self.voice.tell(
            f"{len(saved.strata.forget)} indices written, hash {saved.hash[:12]}. To run all on it: <code>{use}</code>"
        )

    def _on_load(self, _: Any) -> None:
        found = self.load()
        self.voice.tell(f"{len(found.strata.forget)} indices read, hash {found.hash[:12]}.")


def _set_range(slider: widgets.FloatSlider, low: float, high: float) -> None:
    slider.disabled = high <= low  # every candidate has the same score: there is no threshold to move
    high = high if high > low else low + 1e-6
    with slider.hold_sync(), slider.hold_trait_notifications():
        slider.min, slider.max, slider.value = low, high, min(max(slider.value, low), high)
        slider.step = (high - low) / 200
    slider.readout_format = ".3f" if high > 0.05 or slider.disabled else ".2e"
