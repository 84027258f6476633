"""The pane that explains one run: why its ToW, why its MIA efficacy, and how the model forgot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mulnb.explorer import attacked, forgetting, live, outcomes, pictures, svg
from mulnb.explorer.attacked import Attack
from mulnb.explorer.canvas import Canvas
from mulnb.explorer.replay import Epochs
from mulnb.explorer.stock import Stock
from mulnb.explorer.voice import Voice

TABS = {"tow": "Why this ToW?", "mia": "Why this MIA?", "forgetting": "See the forgetting"}


class Explanation:
    """Tabs on the run that is shown.

    Args:
        on_act: what a click that is not on a tab does.
    """

    def __init__(self, stock: Stock, on_act: Callable[..., None], voice: Voice) -> None:
        self.stock, self.on_act = stock, on_act
        self.tab = "tow"
        self.canvas = Canvas(voice.guard(self._on_act), "50%")
        self.results: dict[int, live.Result] = {}  # by number of the run
        self.epochs: dict[int, Epochs] = {}
        self._attacks: dict[int, dict[str, Attack]] = {}
        self._row: Mapping[str, Any] | None = None
        self._rows: Sequence[Mapping[str, Any]] = ()

    def show(self, row: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> None:
        """Explain a run among the others of the table."""
        self._row, self._rows = row, rows
        if self.tab == "tow":
            body = outcomes.why(row, rows)
        elif self.tab == "mia":
            body = attacked.picture(row, self._attack())
        else:
            number, result = self._number, self._result
            probability, chosen = ({}, None) if result is None else (result.probability, result.chosen)
            body = forgetting.picture(row, self.stock, chosen, probability, self.epochs.get(number))
        self.canvas.html = svg.page(pictures.tabs(TABS, self.tab, body))

    @property
    def _number(self) -> int | None:
        return None if self._row is None else self._row["number"]

    @property
    def _result(self) -> live.Result | None:
        return self.results.get(self._number)

    def _attack(self) -> dict[str, Attack]:
        """The attack on the unlearned model and on the oracle of the run; trained when it is first looked at."""
        number, result = self._number, self._result
        if result is None or not result.probability:
            return {}
        if number not in self._attacks:
            self._attacks[number] = {
                name: attacked.attack(result.probability[name], result.unseen[name], result.chosen, result.run.seed)
                for name in ("unlearned", "oracle")
            }
        return self._attacks[number]

    def _on_act(self, name: str, arguments: list[str], message: dict[str, Any]) -> None:
        if name == "tab":
            self.tab = arguments[0]
            self.show(self._row, self._rows)
        else:
            self.on_act(name, arguments, message)
