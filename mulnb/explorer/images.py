"""The images of the strata: contact sheets, and one example enlarged with its scores and what the models say of it."""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Mapping

import numpy as np

from mulnb.core.vocabulary import STRATA, label
from mulnb.explorer import svg
from mulnb.explorer.selection import Filter, Ranking, sample
from mulnb.explorer.stock import Stock
from mulnb.forget import Strata

TILES = 12  # images per stratum
Probability = Mapping[str, np.ndarray]  # by model (original, unlearned, oracle): the probability of each example's label [N]


def contact_sheets(
    stock: Stock,
    ranking: Ranking,
    chosen: Strata,
    means: np.ndarray | None = None,
    only: Filter | None = None,
    failures: Probability | None = None,
) -> str:
    """Images of each stratum with their labels and scores, from the most typical one to the one at the threshold.

    Args:
        means: mean memorization of the strata [3, 2], where it is known.
        only: show those that a filter lets through, also of the retained examples.
        failures: instead of by score, begin with the examples on which the unlearned model is furthest from the oracle.
    """
    sheets = []
    for place, (stratum, part) in enumerate(zip(STRATA, chosen, strict=True)):
        shown = _let_through(part, stratum, only)
        about = f"<b>{stratum}</b>"
        if only is not None:
            about += f": {len(shown)} of {len(part)}"
        elif means is not None:
            about += f": memorization <b>{means[place, 0]:.2f}</b>"
        if stock.flipped.any() and len(shown):
            about += f', <span class="bad">✗</span> {stock.flipped[shown].mean():.0%}'

        if failures is not None:
            tiles = furthest(failures, shown)[:TILES]
        else:
            tiles = sample(ranking.values, shown, stratum, ranking.middle, TILES)
        sheets.append(_sheet(stock, ranking, about, tiles, f"var(--{stratum})", failures))

    if only is not None and only.stratum is None:
        rest = np.setdiff1d(np.flatnonzero(only.mask), chosen.forget)
        tiles = sample(ranking.values, rest, "low", ranking.middle, TILES)
        sheets.append(_sheet(stock, ranking, f"<b>retained</b>: {len(rest)}", tiles, "var(--bar)", failures))
    return f'<div class="sheets">{"".join(sheets)}</div>'


def furthest(probability: Probability, part: np.ndarray) -> np.ndarray:
    """Examples in order of how far the unlearned model is from the oracle in the probability of their label, furthest first."""
    distance = np.abs(probability["unlearned"][part] - probability["oracle"][part])
    return part[np.argsort(-distance, kind="stable")]


def sheets_note(stock: Stock, ranking: Ranking, chosen: Strata, only: Filter | None, ordered: str) -> str:
    """The line below the sheets: their order, the filter, ties.

    Args:
        ordered: "score", "failures", or "" where there is no run whose failures could be shown.
    """
    if ordered == "failures":
        order = "Furthest from the oracle first: probability of the label, unlearned model → oracle."
        order += ' <button data-act="order:score">By score</button>'
    else:
        order = "From the most typical to the threshold, with label and score; click to enlarge."
    if ordered == "score":
        order += ' <button data-act="order:failures">Furthest from the oracle first</button>'

    if only is None:
        note = order + _ties(ranking, chosen)
    else:
        note = f'Only {html.escape(only.words)}. <button data-act="all">Show all ✕</button>'
    if stock.flipped.any():
        note += ' <span class="bad">✗</span>: label flipped.'
    return f'<p class="note">{note}</p>'


def _let_through(part: np.ndarray, stratum: str, only: Filter | None) -> np.ndarray:
    """The examples of a stratum that a filter lets through."""
    if only is None:
        return part
    if only.stratum not in (None, stratum):
        return part[:0]
    return part[only.mask[part]]


def _ties(ranking: Ranking, chosen: Strata) -> str:
    """How many of the examples exactly at a threshold a stratum takes, where it cannot take all."""
    words = ""
    for side in ("low", "high"):
        taken, tied = ranking.ties(side, len(getattr(chosen, side)))
        if taken < tied:
            words += f" {taken} of {tied} ties are {side}, by seed."
    return words


def _sheet(stock: Stock, ranking: Ranking, about: str, examples: np.ndarray, color: str, failures: Probability | None) -> str:
    tiles = []
    for example in examples.tolist():
        words = svg.number(ranking.values[example])
        if failures is not None:
            words = f"{failures['unlearned'][example]:.1f}→{failures['oracle'][example]:.1f}"
        tiles.append(_tile(stock, example, words))
    return f'<div class="sheet" style="border-color:{color}">{about}<div class="tiles">{"".join(tiles)}</div></div>'


def _tile(stock: Stock, example: int, words: str) -> str:
    """A small image with its label and a number; a click shows it enlarged."""
    name, flipped = html.escape(stock.classes[stock.labels[example]]), bool(stock.flipped[example])
    about = f"example {example}, label {name}{', flipped' if flipped else ''}"
    image = f'<img src="{png(stock, example)}" alt="{about}">'
    words = f"<span>{'✗ ' if flipped else ''}{name}</span>{words}"
    kind = ' class="flipped"' if flipped else ""
    return f'<figure{kind} data-act="image:{example}" role="button" tabindex="0" title="{about}: enlarge">{image}{words}</figure>'


def enlarged(stock: Stock, seed: int, chosen: Strata, example: int | None, probability: Probability | None = None) -> str:
    """One example: the image, its label, its place in every score, and buttons that add it to the set or drop it.

    Args:
        seed: of the scores.
        probability: of every example's label, by each model [N]: what the models of the last run say.
    """
    if example is None:
        return '<p class="note empty">Click an image to enlarge it here, and to add it to the set or drop it.</p>'

    rows = []
    for model, values in (probability or {}).items():
        rows.append(f"<tr><td class=word>p(label), {model}</td><td><b>{values[example]:.2f}</b></td><td></td></tr>")
    for name in stock.names:
        values = stock.scores(name, seed)
        # the share of examples with a lower score: comparable between scores of different units
        above = float((values < values[example]).mean())
        written = svg.number(values[example])
        if name == "memorization" and stock.se is not None and stock.se[example]:
            written += f" ± {stock.se[example]:.2f}"
        rows.append(f"<tr><td class=word>{html.escape(label(name))}</td><td>{written}</td><td>&gt; {above:.0%}</td></tr>")

    # one button drops it from its stratum; an example that is retained can be added to any
    place = next((name for name, part in zip(STRATA, chosen, strict=True) if example in part), None)
    buttons = [f'<button data-act="move:{example}:{name}">add to {name}</button>' for name in STRATA if name != place]
    if place is not None:
        buttons = [f'<button data-act="move:{example}:">drop from {place}</button>']
    about = f"<b>Example {example}</b>, label <b>{html.escape(stock.classes[stock.labels[example]])}</b>"
    if stock.flipped[example]:
        about += ' <span class="bad">✗ flipped</span>'
    where = f"in the forget set, stratum {place}" if place else "retained"
    image = f'<img src="{png(stock, example)}" alt="example {example}">'
    region = 'class="scores" role="region" tabindex="0" aria-label="scores, and the share of examples with lower ones"'
    table = f"<div {region}><table>{''.join(rows)}</table></div>"  # it scrolls: what follows must stay in view
    return (
        f'<div class="enlarged"><div>{image}<p>{"<br>".join(buttons)}</p></div><div><p>{about}<br>{where}</p>{table}</div></div>'
    )


def png(stock: Stock, example: int) -> str:
    """An image as the address of a PNG."""
    return _png(stock.images[example].tobytes(), stock.images[example].shape)


@functools.lru_cache(maxsize=4096)
def _png(pixels: bytes, shape: tuple[int, int, int]) -> str:
    from PIL import Image

    # the pixels as bytes can be hashed, so that a drag does not encode the same image twice
    array = np.frombuffer(pixels, np.uint8).reshape(shape)  # [C, H, W]
    image = Image.fromarray(array[0] if shape[0] == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1)))
    packed = io.BytesIO()
    image.save(packed, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
