"""The threshold explorer of notebook 06.

`panel` has the widgets of the choice and `workbench` those of unlearning; `selection` computes what a choice means, `pictures`,
`images` and `outcomes` draw it, `canvas` makes it clickable, `map` shows all examples with a lasso; `style.css` has the
colours of both themes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mulnb.core.errors import UserError

if TYPE_CHECKING:
    from mulnb.explorer.panel import Explorer

__all__ = ["Explorer", "explore"]


def __getattr__(name: str) -> Any:
    """`Explorer` is loaded when it is used: it needs widgets, which choosing from code does not."""
    if name != "Explorer":
        raise AttributeError(f"module 'mulnb.explorer' has no attribute '{name}'")
    try:
        from mulnb.explorer.panel import Explorer
    except ModuleNotFoundError as error:
        if error.name not in ("ipywidgets", "anywidget"):
            raise
        raise UserError(f"the explorer needs the package {error.name}: pip install 'mulnb[notebooks]'") from None
    return Explorer


def explore(
    images: Any,
    labels: Any,
    scores: Any,
    memorization: Any = None,
    classes: Sequence[str] | None = None,
    places: Any = None,
) -> Explorer:
    """An explorer of your own images and scores: choose strata, look into them, export them; unlearning needs a profile.

    Args:
        images: [N, H, W], [N, C, H, W] or [N, H, W, C], uint8, or floating point in [0, 1]; arrays or tensors.
        labels: class numbers [N].
        scores: [N], higher = more memorized, or a mapping from names to such arrays.
        memorization: exact memorization [N], if it is known, to compare the strata with.
        classes: names of the classes; their numbers by default.
        places: of the images on the map [N, 2], such as a UMAP of a model's features; by default from the pixels.

    Returns:
        The explorer, as a cell's value.

    Raises:
        UserError: shapes do not agree, a score or place is not a finite number, or labels are no class numbers.
    """
    from mulnb.explorer import stock

    data = stock.of_arrays(images, labels, scores, memorization, classes, places)
    return __getattr__("Explorer")(None, data)
