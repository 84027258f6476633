"""The explorer's second half: unlearn the chosen set live, cancel it, and compare the results."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
import pandas as pd

from mulnb.config import Profile
from mulnb.core import progress, store
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import CEILING, label, mix
from mulnb.explorer import live, outcomes, scale, svg
from mulnb.explorer.canvas import Canvas
from mulnb.explorer.controls import dropdown, offered, row
from mulnb.explorer.explain import Explanation
from mulnb.explorer.replay import Epochs, watch
from mulnb.explorer.stock import Stock
from mulnb.explorer.voice import Voice
from mulnb.forget import Strata


class Choice(NamedTuple):
    """A forget set and how it was chosen."""

    strata: Strata
    score: str
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """Columns that distinguish one set from another."""
        sizes = tuple(len(part) for part in self.strata)
        return {"score": self.score, "seed": self.seed, "set": store.digest(list(self.strata)), "sizes": sizes}


class Workbench:
    """Algorithm, strategy, a button, a progress bar that can be cancelled; chart, explanation and table of the runs.

    Args:
        choice: returns the set to unlearn.
        on_shown: called when another run is explained.
        on_image: called with an example that was clicked.
    """

    def __init__(
        self,
        profile: Profile,
        stock: Stock,
        choice: Callable[[], Choice],
        on_shown: Callable[[], None],
        on_image: Callable[[int], None],
        voice: Voice,
    ) -> None:
        self.profile, self.choice, self.on_shown, self.on_image, self.voice = profile, choice, on_shown, on_image, voice
        self.rows: list[dict[str, Any]] = []
        self.shown: int | None = None  # the number of the run that is explained
        self.job: live.Background | None = None
        self.error: BaseException | None = None
        self._ends: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}  # by set and seed: rows of the floor and the ceiling

        mixed = ["rum"] if profile.unlearning.rum else []
        self.algorithm = dropdown([*profile.unlearning.algorithms, *mixed], "algorithm", "190px")
        self.strategy = dropdown(self._strategies(), "strategy", "150px")
        self.run = widgets.Button(description="Unlearn this", icon="play", button_style="primary", layout={"width": "115px"})
        self.cancel = widgets.Button(description="Cancel", icon="stop", disabled=True, layout={"width": "80px"})
        self.bar = widgets.IntProgress(layout={"width": "110px"}, bar_style="info")
        self.state = widgets.HTML()

        self.algorithm.observe(voice.guard(self._on_algorithm), "value")
        self.run.on_click(voice.guard(lambda _: self.start()))
        self.cancel.on_click(voice.guard(lambda _: self.stop()))

        act = voice.guard(self._on_act)
        self.explanation = Explanation(stock, act, voice)
        self.chart, self.why, self.table = Canvas(act, "36%"), self.explanation.canvas, Canvas(act)
        heading = widgets.HTML(svg.page("<h3>2 · Unlearn it</h3>"))
        controls = row(heading, self.algorithm, self.strategy, self.run, self.cancel, self.bar)
        pictures = row(self.chart, self.why, align_items="flex-start")
        self.view = widgets.VBox([controls, self.state, pictures, self.table])
        self._say("the table and the chart show the runs of this kernel")
        self._draw()

    @property
    def results(self) -> pd.DataFrame:
        """The live runs so far: the columns of `study.unlearning`, and `number`, `set` and `sizes`."""
        return pd.DataFrame(self.rows)

    def select(self, algorithm: str | None = None, strategy: str | None = None) -> None:
        """Set the two controls. Raises `UserError` for what the profile does not offer."""
        algorithm = algorithm or self.algorithm.value
        offered("algorithm", algorithm, [name for _, name in self.algorithm.options])
        if strategy is not None:
            offered(f"strategy of {algorithm}", strategy, self._strategies(algorithm))
        self.algorithm.value = algorithm
        if strategy is not None:
            self.strategy.value = strategy

    def start(self) -> None:
        """Run the chosen strategy on the chosen set; first vanilla, which it is compared with, unless that is in the table."""
        if self.busy:
            raise UserError("an unlearning run is under way: wait for it or cancel it")
        chosen, algorithm, strategy = self.choice(), self.algorithm.value, self.strategy.value
        # vanilla first, on the same set: without it, a ToW has nothing to be compared with
        wanted = dict.fromkeys([*self._references(algorithm), (algorithm, strategy)])
        runs = [run for run in wanted if self._known(chosen.facts, *run) is None]
        self.job, self.error = None, None
        if not runs:
            self._explain(self._known(chosen.facts, algorithm, strategy))
            self._say(f"already in the table: {label(algorithm)}, {label(strategy)} on this set")
            return

        planned = live.plan(self.profile, chosen.score, chosen.seed, runs)
        work = functools.partial(live.unlearn, self.profile, chosen.strata, chosen.score, chosen.seed, runs)
        steps = sum(live.expected_steps(self.profile, chosen.strata, planned))
        self._launch(work, steps, functools.partial(self._keep_runs, chosen.facts))

    def watch(self, number: int) -> None:
        """Repeat a run of the table, and keep what the model says after every epoch."""
        result = self.explanation.results[number]

        def work(job: live.Background) -> Epochs:
            job.enter(f"watching {outcomes.describe(result.row)}, epoch by epoch", steps)
            return watch(self.profile, result.run, result.chosen)

        def keep(found: Epochs) -> None:
            self.explanation.epochs[number] = found
            self._say(f"run {number} was repeated: {len(found.probability) - 1} epochs")
            self._draw()

        _, steps = live.expected_steps(self.profile, result.chosen, [result.run])
        self._launch(work, steps, keep)

    def measure_ceiling(self) -> None:
        """Train a second oracle of the set whose run is explained."""
        result = self.explanation.results[self.shown]
        ends = self._ends[self._set_shown]  # another run may be explained by the time the oracle is trained

        def keep(found: dict[str, Any]) -> None:
            ends[CEILING] = found
            self._say(f"a second oracle beside the first: <b>ToW {found['tow']:.3f}, ToW-MIA {found['tow_mia']:.3f}</b>")
            self._draw()

        work = functools.partial(live.ceiling, self.profile, result.chosen, result.run.seed)
        self._launch(work, live.expected_steps(self.profile, result.chosen, [])[0], keep)

    def _launch(self, work: Callable[[live.Background], Any], steps: int, keep: Callable[[Any], None]) -> None:
        """Do `work`, of about `steps` optimizer steps, in the background; `keep` gets what it returns."""
        if self.busy:
            raise UserError("a run is under way: wait for it or cancel it")
        self.error = None
        self.bar.max, self.bar.value, self.bar.bar_style = max(steps, 1), 0, "info"
        self.run.disabled, self.cancel.disabled = True, False
        self._say("starting …")
        finished = functools.partial(self._on_finished, keep)
        self.job = live.Background(work, self.voice.guard(self._on_progress), self.voice.guard(finished))
        self.job.start()

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.job is not None and self.job.thread.is_alive()

    def stop(self) -> None:
        """Cancel the run under way."""
        self.cancel.disabled = True
        if self.job is not None:
            self._say("cancelling after this step …")
            self.job.cancel()

    # --- what is offered -------------------------------------------------------------------------------------------------

    def _references(self, algorithm: str) -> list[tuple[str, str]]:
        """Vanilla of the algorithm; for the full RUM, of the algorithms that it is made of."""
        parts = [algorithm]
        if algorithm == "rum":
            parts = [stage.algorithm for stage in self.profile.unlearning.rum.stages]
        return [(name, "vanilla") for name in parts if name in self.profile.unlearning.algorithms]

    def _strategies(self, algorithm: str | None = None) -> list[str]:
        """The strategies of an algorithm, RUM^F first."""
        algorithm = algorithm or self.algorithm.value
        if algorithm == "rum":
            return ["rum"]
        return sorted(self.profile.unlearning.algorithms[algorithm], key=lambda name: name != "rum_f")

    def _on_algorithm(self, _: Any) -> None:
        before, choices = self.strategy.value, self._strategies()
        self.strategy.options = [(label(name), name) for name in choices]
        self.strategy.value = before if before in choices else choices[0]

    def _known(self, facts: dict[str, Any], algorithm: str, strategy: str) -> int | None:
        """The number of a run in the table."""
        wanted = facts | {"algorithm": algorithm}
        for found in self.rows:
            if outcomes.same_set(found, wanted) and found["strategy"] == strategy:
                return found["number"]
        return None

    # --- progress --------------------------------------------------------------------------------------------------------

    def _on_progress(self, steps: int) -> None:
        self.bar.value = min(steps, self.bar.max)
        # all steps are taken to last equally long; the bar's end is an estimate as well
        seconds = time.monotonic() - self.job.started
        left = seconds / max(steps, 1) * max(self.bar.max - steps, 0)
        self._say(f"{self.job.phase}: step {steps} of about {self.bar.max}, {progress.clock(left)} left")

    def _on_finished(self, keep: Callable[[Any], None], found: Any, error: BaseException | None) -> None:
        # this runs in the job's thread; ipywidgets sends its messages from any thread
        self.run.disabled, self.cancel.disabled = False, True
        self.error = error
        if isinstance(error, live.Cancelled):
            self.bar.bar_style = "warning"
            self._say(f"cancelled after {self.job.steps} steps: the run left no result, no model was changed")
        elif error is not None:
            self.bar.bar_style = "danger"
            self._say("failed: see the message")
            self.voice.failed(error)
        else:
            self.bar.value, self.bar.bar_style = self.bar.max, "success"
            keep(found)

    def _keep_runs(self, facts: dict[str, Any], found: live.Found) -> None:
        """Put finished runs into the table, and explain the last."""
        for result in found.results:
            number = len(self.rows) + 1
            self.rows.append(result.row | facts | {"number": number})
            self.explanation.results[number] = result
        # a ceiling that was measured before is kept
        self._ends.setdefault((facts["set"], facts["seed"]), {}).update(found.ends)

        last = self.rows[-1]
        what = mix(self.profile.unlearning.rum) if last["strategy"] == "rum" else outcomes.describe(last)
        self._say(f"{what}: <b>ToW {last['tow']:.3f}, ToW-MIA {last['tow_mia']:.3f}</b>")
        self._explain(last["number"])

    @property
    def probability(self) -> dict[str, np.ndarray]:
        """Of the run that is explained: the probability of the true class by original, unlearned model and oracle, [N] each."""
        shown = self.explanation.results.get(self.shown)
        return {} if shown is None else shown.probability

    @property
    def _set_shown(self) -> tuple[str, int]:
        """The set and the seed of the run that is explained."""
        row = self.rows[self.shown - 1]
        return row["set"], row["seed"]

    # --- drawing ---------------------------------------------------------------------------------------------------------

    def _on_act(self, name: str, arguments: list[str], _: dict[str, Any]) -> None:
        match name:
            case "run":
                self._explain(int(arguments[0]))
            case "image":
                self.on_image(int(arguments[0]))
            case "watch":
                self.watch(int(arguments[0]))
            case "ceiling":
                self.measure_ceiling()

    def _explain(self, number: int | None) -> None:
        """Explain the ToW of a run of the table."""
        self.shown = number
        self._draw()
        self.on_shown()

    def _draw(self) -> None:
        row = next((found for found in self.rows if found["number"] == self.shown), None)
        ends = {} if row is None else self._ends[self._set_shown]
        self.chart.html = svg.page(scale.tow_chart(self.rows, self.shown, ends))
        self.explanation.show(row, self.rows)
        self.table.html = svg.page(outcomes.table(self.rows, self.shown))

    def _say(self, words: str) -> None:
        self.state.value = svg.page(f'<span role="status">{words}</span>')
