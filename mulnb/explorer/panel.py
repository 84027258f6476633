"""The threshold explorer of notebook 06: choose strata by threshold or size, look into them, unlearn them, export them.

Only widgets and their wiring are here: `selection` computes what a choice means, `pictures` draws it, `workbench` unlearns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from mulnb import config, forget
from mulnb.config import Profile
from mulnb.core import paths, store
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import STRATA
from mulnb.core.whole import is_whole
from mulnb.data import forget_file
from mulnb.explorer import files, images, pictures, selection, stock, svg
from mulnb.explorer.aside import Aside, Shown
from mulnb.explorer.canvas import Canvas
from mulnb.explorer.controls import Sizes, dropdown, offered, row
from mulnb.explorer.selection import Filter, Ranking
from mulnb.explorer.stock import Stock
from mulnb.explorer.voice import Voice
from mulnb.explorer.workbench import Choice, Workbench
from mulnb.forget import Strata

CHOOSE = "<h3>1 · Choose a forget set</h3>"
NO_PROFILE = "<p class='note'>Unlearning needs a profile, which says how models are trained: here you choose and export only.</p>"
EXPORT = "<h3>3 · Export the set</h3>"

_kept: dict[str, dict[str, Any]] = {}  # by profile: the attributes of its explorer in this kernel


class Explorer:
    """The explorer of a profile's stored results, as a cell's value. Nothing is trained until the button is pressed.

    Explorers of one profile in one kernel are the same: the choice, the runs and a run under way survive when the page is
    reloaded and the cell runs again.

    The controls are attributes (`score`, `seed`, `sizes`, `equal`, `file`, and those of `workbench`), and so is what callbacks
    report: `voice.message.value` and `voice.errors.outputs`.

    Args:
        profile: a profile, its name or its YAML file; None with a `stock` of your own, which cannot be unlearned.
        data: other data than the profile's stored results.
        shared: False for an explorer of its own, which shares neither choice nor runs with others of the profile.

    Raises:
        UserError: the profile is unknown, or has no results; the message has the command that makes them.
    """

    def __init__(self, profile: Profile | str | Path | None, data: Stock | None = None, shared: bool = True) -> None:
        if isinstance(profile, (str, Path)):
            profile = config.load_profile(profile)
        stock.check(profile, data)
        key = store.digest([str(paths.figures()), str(paths.artifacts()), profile])
        shared = shared and data is None
        if shared and key in _kept:
            # not a copy: the widgets that another output already shows are these
            self.__dict__ = _kept[key]
            return

        self.profile, self.stock = profile, data or stock.of_profile(profile)
        self.voice = Voice()
        self._given: Strata | None = None  # a set that was imported or edited by hand, which no setting of the controls gives
        self._clicked: tuple[str, Any] | None = None  # the part of a picture whose examples are shown; or "lasso", and a mask
        self._order = "score"  # of the images: "score" or "failures"
        self._curves = None

        self._make_controls()
        self.workbench = None
        if profile is not None:
            self.workbench = Workbench(profile, self.stock, self._choice, self.draw, self._enlarge, self.voice)

        # the profile's size of a stratum; for other data, three strata of a tenth together
        self._rank(profile.forget.size if profile is not None else max(1, len(self.stock) // 30))
        for control in (self.score, self.seed):
            control.observe(self.voice.guard(self._on_ranking), "value")
        self.view = self._arranged()
        self.draw()
        if self.stock.copies:
            self.voice.say(stock.COPIES)
        if shared:
            _kept[key] = self.__dict__

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return (self.view._repr_mimebundle_(**kwargs) or {}) | {"text/plain": repr(self)}

    def __repr__(self) -> str:  # what is shown where widgets cannot run
        name = "your data" if self.profile is None else f"profile '{self.profile.name}'"
        return f"The threshold explorer of {name}: run this cell in JupyterLab to use it."

    # --- what a notebook or a test calls ---------------------------------------------------------------------------------

    @property
    def strata(self) -> Strata:
        """The three strata as they are chosen now."""
        return self._given or self._ranking.strata(self._fields.values)

    @property
    def results(self) -> pd.DataFrame:
        """The live runs so far: the columns of `study.unlearning`, and `number`, `set` and `sizes`."""
        return self._bench().results

    def choose(
        self,
        score: str | None = None,
        sizes: int | Sequence[int] | None = None,
        seed: int | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> Strata:
        """Set the controls from code; what is not given stays.

        Args:
            score: the name of a score.
            sizes: examples per stratum, one number or three.
            seed: of the proxies, and for ties.
            low: instead of a size, the threshold of the low stratum: scores up to this one.
            high: the threshold of the high stratum: scores from this one on.

        Returns:
            The strata chosen.

        Raises:
            UserError: a value that the controls do not offer.
        """
        for control, value in ((self.score, score), (self.seed, seed)):
            if value is not None:
                offered(control.description, value, [choice for _, choice in control.options])
        self.score.value = score or self.score.value
        self.seed.value = self.seed.value if seed is None else seed

        if sizes is not None:
            three = tuple(sizes) if isinstance(sizes, (list, tuple, np.ndarray)) and np.ndim(sizes) else (sizes,) * 3
            if len(three) != 3 or not all(is_whole(size) and 1 <= size <= self._ranking.limit for size in three):
                raise UserError(f"sizes {sizes}: expected one or three numbers from 1 to {self._ranking.limit}")
            self._fields.set(dict(zip(STRATA, three, strict=True)), equal=len(set(three)) == 1)
        # a threshold decides a size, so it comes last
        for side, threshold in (("low", low), ("high", high)):
            if threshold is None:
                continue
            if not isinstance(threshold, (int, float, np.number)) or not abs(threshold) < stock.HUGE:
                raise UserError(f"{side} = {threshold!r}: expected a score, a finite number")
            self._fields.resize(side, self._ranking.size(side, float(threshold)))
        return self.strata

    def unlearn(self, algorithm: str | None = None, strategy: str | None = None) -> pd.DataFrame:
        """Press the button and wait.

        Returns:
            `results`, with the new runs last.

        Raises:
            UserError: the profile does not offer this algorithm or strategy; also any error that the run met.
        """
        bench = self._bench()
        bench.select(algorithm, strategy)
        bench.start()
        if bench.job is not None:
            bench.job.thread.join()
        if bench.error is not None:
            raise bench.error
        return self.results

    def export(self, path: str | Path | None = None, overwrite: bool = False) -> forget.ForgetSet:
        """Write the chosen set as JSON.

        Args:
            path: by default the field's; a relative one is meant from `MULNB_HOME`.
            overwrite: replace a file that holds another set.

        Raises:
            UserError: the folder does not exist, or the file holds another set.
        """
        target = files.resolve(path or self.file.file, self.profile)
        files.check_target(target, self.profile)
        name = self.profile.name if self.profile is not None else "your data"
        settings = {"profile": name, "score": self.score.value, "seed": self.seed.value}
        if self._given is None:
            settings["sizes"] = self._fields.values
            settings["thresholds"] = [self.threshold(side) for side in ("low", "high")]

        # writing the same set again is no question: a notebook that runs twice does it
        chosen = forget.ForgetSet(self.strata, self.stock.fingerprint, len(self.stock), settings)
        if target.exists() and not overwrite and not files.holds(target, chosen):
            raise files.Exists(target)
        return forget.save(target, chosen.strata, chosen.data, chosen.n, settings)

    def load(self, path: str | Path | None = None) -> forget.ForgetSet:
        """Choose the set that a file holds. Raises `UserError` if the file does not fit these data."""
        found = forget_file.load(files.resolve(path or self.file.file, self.profile), self.stock.fingerprint, len(self.stock))
        score, seed = found.settings.get("score"), found.settings.get("seed")

        # set the controls as they were, as far as they offer it; if that gives another set, keep the file's as it is
        sizes = [len(part) for part in found.strata]
        self.choose(
            score if score in self.stock.names else None,
            sizes if max(sizes) <= self._ranking.limit else None,
            seed if seed in [value for _, value in self.seed.options] else None,
        )
        same = all(np.array_equal(part, np.sort(other)) for part, other in zip(self.strata, found.strata, strict=True))
        self._given = None if same else found.strata
        self.draw()
        return found

    def threshold(self, side: str) -> float:
        """The score at the edge of the low or the high stratum."""
        return self._ranking.threshold(side, self.sizes[side].value)

    # --- drawing ---------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Show the strata as they are chosen now."""
        chosen, data, ranking = self.strata, self.stock, self._ranking
        means = None
        if data.memorization is not None:
            means = selection.mean_memorization(chosen, data.memorization, data.se)
        self.summary.value = svg.page(self._summary(chosen, means))
        self.distribution.html = svg.page(pictures.histogram(ranking, chosen, handles=self._given is None))
        self.sheets.html = svg.page(self._sheets(chosen, means))

        sizes = [len(part) for part in chosen]
        truth = None if means is None else self._truth.strata(sizes)
        lasso = self._clicked[1] if self._clicked is not None and self._clicked[0] == "lasso" else None
        self._pane.draw(Shown(chosen, means, truth, self._curves, self.seed.value, lasso, self._probability()))

    def _sheets(self, chosen: Strata, means: np.ndarray | None) -> str:
        """The images of the strata, by score or, after a run, with its failures first."""
        probability = self._probability()
        ordered = self._order if probability else ""
        failures = probability if ordered == "failures" else None
        sheets = images.contact_sheets(self.stock, self._ranking, chosen, means, self.filter, failures)
        return sheets + images.sheets_note(self.stock, self._ranking, chosen, self.filter, ordered)

    def _probability(self) -> images.Probability:
        """What the models of the explained run say of every example; empty before a run."""
        return {} if self.workbench is None else self.workbench.probability

    def _summary(self, chosen: Strata, means: np.ndarray | None) -> str:
        count, n = len(chosen.forget), len(self.stock)
        words = f"{CHOOSE} <b>{count}</b> of {n} examples ({count / n:.0%})"
        if means is not None:
            path = " → ".join(f"{mean:.2f}" for mean in means[:, 0])
            words += f"; mean memorization of low → medium → high: <b>{path}</b>"
        if self._given is not None:
            words += '. <span class="bad">A set of your own: changing a score, seed or size leaves it.</span>'
        return f"<p>{words}</p>"

    # --- widgets ---------------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        seeds = list(self.profile.seeds) if self.profile is not None else [0]
        self.score = dropdown(self.stock.names, "score", "210px")
        self.seed = dropdown(seeds, "seed", "85px")
        self._fields = Sizes(self._on_sizes, self.voice)
        self.sizes, self.equal = self._fields.fields, self._fields.equal

        self.summary = widgets.HTML()
        self.distribution = Canvas(self.voice.guard(self._on_drag), "52%")
        self._pane = Aside(self.stock, self._on_act, self.draw, self.voice)
        self.aside, self.map = self._pane.canvas, self._pane.map
        self.sheets = Canvas(self.voice.guard(self._on_act))

        self.file = files.FileRow(self.profile, self.export, self.load, Voice(self.voice.errors))

    def _arranged(self) -> widgets.VBox:
        bench = widgets.HTML(svg.page(NO_PROFILE)) if self.workbench is None else self.workbench.view
        view = widgets.VBox(
            [
                self.summary,
                row(self.score, self.seed, *self.sizes.values(), self.equal),
                row(self.distribution, self._pane.view, align_items="flex-start"),
                self.sheets,
                self.voice.message,
                bench,
                row(widgets.HTML(svg.page(EXPORT)), *self.file.children),
                self.file.voice.message,
                self.voice.errors,
            ]
        )
        return view.add_class("mulnb-explorer")

    def _bench(self) -> Workbench:
        if self.workbench is None:
            raise UserError("unlearning needs a profile, which says how models are trained: open one with Explorer('digits')")
        return self.workbench

    # --- choosing --------------------------------------------------------------------------------------------------------

    def _choice(self) -> Choice:
        return Choice(self.strata, self.score.value, self.seed.value)

    def _rank(self, size: int | None = None) -> None:
        """Sort by the score that is selected; the sizes stay unless `size` is given, so the thresholds follow."""
        score, seed, exact = self.score.value, self.seed.value, self.stock.memorization
        self._ranking = ranking = Ranking(score, self.stock.scores(score, seed), seed)
        if exact is not None:
            self._truth = Ranking("memorization", exact, seed)
            self._curves = ranking.growth(exact)
        if size is not None:
            self._fields.begin(size, ranking.limit)

    def _on_sizes(self) -> None:
        self._given = None
        self.draw()

    def _on_ranking(self, _: Any) -> None:
        self._given, self._clicked = None, None
        self._rank()
        self.draw()

    def _on_drag(self, name: str, arguments: list[str], message: dict[str, Any]) -> None:
        """A threshold was dragged to a pixel or moved with a key; or a bar of the histogram was clicked."""
        if name != "drag":
            self._on_act(name, arguments, message)
            return
        side, ranking = arguments[0], self._ranking
        size = self.sizes[side].value

        # a pixel of the pointer, or a step of a key
        if "x" in message:
            size = ranking.size(side, pictures.score_axis(ranking).value(message["x"]))
        else:
            size = ranking.stepped(side, size, message["step"])
        if size != self.sizes[side].value:
            self._fields.resize(side, size)

    # --- looking ---------------------------------------------------------------------------------------------------------

    def _on_act(self, name: str, arguments: list[str], message: dict[str, Any]) -> None:
        """A tab, an image, a button, or a part of a picture was clicked."""
        match name:
            case "tab":
                self._pane.open(arguments[0])
            case "image":
                self._pane.enlarged = int(arguments[0])
                self._pane.open("example")
            case "move":
                self.move(int(arguments[0]), arguments[1] or None)
            case "moveall":
                self.move(np.flatnonzero(self.filter.mask), arguments[0] or None)
            case "lasso":
                self._clicked = name, self.map.inside(message["path"])
            case "order":
                self._order = arguments[0]
            case "all":
                self._clicked = None
            case _:
                self._clicked = name, arguments
        self.draw()

    def _enlarge(self, example: int) -> None:
        self._on_act("image", [str(example)], {})

    def move(self, examples: int | Sequence[int] | np.ndarray, stratum: str | None) -> Strata:
        """Move one example, or several, to a stratum, or drop them from the set (None).

        Raises:
            UserError: that would empty a stratum, or leave fewer than a quarter of the examples to be retained.
        """
        parts = selection.moved(self.strata, examples, stratum)
        if empty := [name for name, part in zip(STRATA, parts, strict=True) if len(part) == 0]:
            raise UserError(f"nothing would be left of {empty[0]}: a stratum must not be empty")
        if len(parts.forget) > (most := 3 * self._ranking.limit):
            raise UserError(f"the set would have {len(parts.forget)} examples: at most {most} can be forgotten")
        self._given = parts
        self.draw()
        return parts

    @property
    def filter(self) -> Filter | None:
        """The examples in the lasso, or behind the bar of the histogram, the cell of the matrix or the bar of a class clicked."""
        if self._clicked is None:
            return None
        name, arguments = self._clicked
        if name == "lasso":
            return Filter(f"the {arguments.sum()} selected on the map", arguments)
        if name == "bin":
            axis = pictures.score_axis(self._ranking)
            return selection.in_range(self._ranking, *map(float, arguments), lowest=axis.low)

        row, column = map(int, arguments)
        if name == "class":
            return selection.in_class(self.stock.labels, column, self.stock.classes[column], STRATA[row])
        truth = self._truth.strata([len(part) for part in self.strata])
        return selection.in_cell(truth, len(self.stock), row, column)
