"""A training that diverges says where: which step of the study, which stratum, which epoch, at which rate.

One network raises at the end of the epoch in which it diverges (`training.fit`). A stack goes on when one of its networks does,
because the others are not affected; that network is trained again by itself, only to learn when it happened.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mulnb.core.vocabulary import STRATA

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """Let a training that diverges inside the `with` block say what it belongs to.

    Args:
        place: for example "oracle of seed 3".
    """
    from mulnb.training import Diverged

    try:
        yield
    except Diverged as error:
        raise Diverged(f"{place}: {error}") from None


def refuse(outputs: Tensor, places: Sequence[str], again: Callable[[int], object]) -> None:
    """Check the outputs of networks that no later step could use if they diverged.

    Args:
        outputs: of k networks, [k, …].
        places: what each of them is.
        again: trains one of them by itself, given its number 0 … k − 1.

    Raises:
        Diverged: one has outputs that are not finite.
    """
    from mulnb.training import Diverged

    for number, (own, place) in enumerate(zip(outputs, places, strict=True)):
        if own.isfinite().all():
            continue
        with at(place):
            again(number)  # it says where
        raise Diverged(f"{place}: training diverged: use a smaller lr")


def with_stratum(text: str, strategy: str) -> str:
    """Name the stratum in what `rum.unlearn` says of a stage: "stage 1 of 3, stratum low (…)".

    Args:
        text: the message.
        strategy: of the run; only RUM's stages are strata.
    """
    if strategy not in {"rum_f", "rum"}:
        return text
    return re.sub(r"stage (\d) of 3", lambda stage: f"{stage[0]}, stratum {STRATA[int(stage[1]) - 1]}", text)
