"""The explorer's second half: unlearn the chosen set live, cancel it, compare what came of it.

Here is also how widgets say what went wrong (`Voice`).
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets as widgets
import pandas as pd

from mulnb.config import Profile
from mulnb.core import store, vocabulary
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import label
from mulnb.explorer import live, svg
from mulnb.explorer import pictures as sketches
from mulnb.forget import Strata


class Choice(NamedTuple):
    """A forget set and what it was chosen by."""

    strata: Strata
    score: str
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """Columns that tell one set from another."""
        sizes = tuple(len(part) for part in self.strata)
        return {"score": self.score, "seed": self.seed, "set": store.digest(list(self.strata)), "sizes": sizes}


class Voice:
    """What the widgets have to say: `message` for the reader, and tracebacks in `errors`, where tests and the runner look."""

    def __init__(self) -> None:
        self.message = widgets.HTML()
        self.errors = widgets.Output()

    def tell(self, words: str, bad: bool = False) -> None:
        self.message.value = svg.page(f'<p class="{"bad" if bad else "note"}">{words}</p>')

    def failed(self, error: BaseException) -> None:
        """A user's mistake is a message; anything else is a fault of ours, with its traceback."""
        if isinstance(error, UserError):
            self.tell(str(error), bad=True)
            return
        text = "".join(traceback.format_exception(error))
        # appended as data: an Output captures what is printed by the kernel's main thread only
        self.errors.outputs += ({"output_type": "stream", "name": "stderr", "text": text},)
        self.tell("This is a fault of the explorer; the traceback is below.", bad=True)

    def guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        """`callback`, whose exceptions are said here: a widget would swallow them."""

        @functools.wraps(callback)
        def guarded(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:
                self.failed(error)

        return guarded


def dropdown(options: list, about: str, width: str) -> widgets.Dropdown:
    """Names are shown in the field's spelling; `value` is the name itself."""
    named = [(label(one) if isinstance(one, str) else str(one), one) for one in options]
    return widgets.Dropdown(options=named, description=about, style={"description_width": "initial"}, layout={"width": width})


def row(*children: widgets.Widget, **layout: str) -> widgets.Box:
    return widgets.Box(children, layout={"flex_flow": "row wrap", "align_items": "center", **layout})


def text(words: str) -> widgets.HTML:
    return widgets.HTML(svg.page(words))


def panel(basis: str = "100%") -> widgets.HTML:
    return widgets.HTML(layout={"flex": f"1 1 {basis}", "min_width": "280px"})


class Workbench:
    """Algorithm, strategy, a button, a progress bar that can be cancelled, chart and table. `choice()`: the set to unlearn."""

    def __init__(self, profile: Profile, choice: Callable[[], Choice], voice: Voice) -> None:
        self.profile, self.choice, self.voice = profile, choice, voice
        self.rows: list[dict[str, Any]] = []
        self.job: live.Background | None = None
        self.error: BaseException | None = None
        mixed = ["rum"] if profile.unlearning.rum else []
        self.algorithm = dropdown([*profile.unlearning.algorithms, *mixed], "algorithm", "210px")
        self.strategy = dropdown(self._strategies(), "strategy", "180px")
        self.run = widgets.Button(description="Unlearn this", icon="play", button_style="primary")
        self.cancel = widgets.Button(description="Cancel", icon="stop", disabled=True)
        self.bar = widgets.IntProgress(layout={"width": "220px"}, bar_style="info")
        self.state, self.chart, self.outcome, self.table = widgets.HTML(), panel("36%"), panel("52%"), panel()
        self.algorithm.observe(voice.guard(self._on_algorithm), "value")
        self.run.on_click(voice.guard(lambda _: self.start()))
        self.cancel.on_click(voice.guard(lambda _: self.stop()))
        controls = row(self.algorithm, self.strategy, self.run, self.cancel, self.bar, self.state)
        self.view = widgets.VBox([controls, row(self.chart, self.outcome, align_items="flex-start"), self.table])
        self._draw()

    @property
    def results(self) -> pd.DataFrame:
        """The live runs so far: the columns of `study.unlearning`, and `number`, `set` and `sizes`."""
        return pd.DataFrame(self.rows)

    def start(self) -> None:
        """Run the chosen strategy on the chosen set, and what it is compared with first where it has not been run on it."""
        if self.job is not None and self.job.thread.is_alive():
            raise UserError("an unlearning run is under way: wait for it or cancel it")
        chosen, algorithm, strategy = self.choice(), self.algorithm.value, self.strategy.value
        wanted = dict.fromkeys([*self._references(algorithm), (algorithm, strategy)])
        runs = [run for run in wanted if not self._known(chosen.facts, *run)]
        self.job, self.error = None, None
        if not runs:
            self._say(f"already in the table: {label(algorithm)}, {label(strategy)} on this set")
            return
        planned = live.planned(self.profile, chosen.score, chosen.seed, runs)
        self.bar.max = sum(live.expected_steps(self.profile, chosen.strata, planned))
        self.bar.value, self.bar.bar_style = 0, "info"
        self.run.disabled, self.cancel.disabled = True, False
        self._say("retraining an oracle without the set, then unlearning …")
        finished = functools.partial(self._on_finished, chosen.facts)
        work = functools.partial(live.unlearn, self.profile, chosen.strata, chosen.score, chosen.seed, runs)
        self.job = live.Background(work, self.voice.guard(self._on_progress), self.voice.guard(finished))
        self.job.start()

    def stop(self) -> None:
        self.cancel.disabled = True
        if self.job is not None:
            self._say("cancelling after this step …")
            self.job.cancel()

    def _references(self, algorithm: str) -> list[tuple[str, str]]:
        """Vanilla of the algorithm; for the full RUM, of those that it is made of."""
        parts = [algorithm]
        if algorithm == "rum":
            parts = [one.algorithm for one in self.profile.unlearning.rum.stages]
        return [(name, "vanilla") for name in parts if name in self.profile.unlearning.algorithms]

    def _strategies(self) -> list[str]:
        if self.algorithm.value == "rum":
            return ["rum"]
        return sorted(self.profile.unlearning.algorithms[self.algorithm.value], key=lambda name: name != "rum_f")

    def _on_algorithm(self, _: Any) -> None:
        before, offered = self.strategy.value, self._strategies()
        self.strategy.options = [(label(name), name) for name in offered]
        self.strategy.value = before if before in offered else offered[0]

    def _known(self, facts: dict[str, Any], algorithm: str, strategy: str) -> bool:
        wanted = facts | {"algorithm": algorithm}
        return any(sketches.same_set(row, wanted) and row["strategy"] == strategy for row in self.rows)

    def _on_progress(self, steps: int) -> None:
        self.bar.value = min(steps, self.bar.max)
        self._say(f"step {steps} of about {self.bar.max}")

    def _on_finished(self, facts: dict[str, Any], rows: list[dict] | None, error: BaseException | None) -> None:
        self.run.disabled, self.cancel.disabled = False, True
        self.error = error
        if isinstance(error, live.Cancelled):
            self.bar.bar_style = "warning"
            self._say(f"cancelled after {self.job.steps} steps: the run left no result, no model was changed")
        elif error is not None:
            self.bar.bar_style = "danger"
            self._say("failed: see below")
            self.voice.failed(error)
        else:
            self.rows += [one | facts | {"number": len(self.rows) + place} for place, one in enumerate(rows, 1)]
            self.bar.value, self.bar.bar_style = self.bar.max, "success"
            last = self.rows[-1]
            found = f"ToW {last['tow']:.3f}, ToW-MIA {last['tow_mia']:.3f}"
            what = vocabulary.mix(self.profile.unlearning.rum) if last["strategy"] == "rum" else None
            self._say(f"{what or ', '.join(map(label, (last['algorithm'], last['strategy'])))}: <b>{found}</b>")
            self._draw()

    def _draw(self) -> None:
        self.chart.value = svg.page(sketches.tow_chart(self.rows))
        self.outcome.value = svg.page(sketches.outcome(self.rows))
        self.table.value = sketches.table(self.rows)

    def _say(self, words: str) -> None:
        self.state.value = svg.page(words)
