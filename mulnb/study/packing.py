"""What a profile's figures need of the store, as packs: scores, correctness, margins and outcomes, but no weights.

The margins of pool, oracles and unlearned models are most of it. They are in packs of their own, since only audits read them: a
machine that goes on with the work does without.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mulnb.core import packs, store
from mulnb.core.packs import Piece
from mulnb.study import slices
from mulnb.study.networks import WEIGHTS
from mulnb.study.study import Study

FACTS, MARGINS = "facts", "margins"
APART = frozenset({"pool", "oracle", "unlearned"})  # kinds whose margins are in packs of their own


def pack(study: Study, folder: Path, limit: int = packs.LIMIT) -> list[Path]:
    """Write what is stored of a profile and in no pack of `folder` yet.

    Args:
        study: the profile.
        folder: where the packs lie; made if it is missing.
        limit: bytes of a file, at most.

    Returns:
        The new files.

    Raises:
        UserError: a pack in the folder is damaged, or the folder cannot be written.
    """
    store.tidy()
    known, files = packs.known(folder), []
    for part in (FACTS, MARGINS):
        files += packs.write(folder, study.profile.name, part, _pieces(study, part, known), limit)
    return files


def _pieces(study: Study, part: str, known: set[tuple[str, str]]) -> Iterator[Piece]:
    """One part of every stored artefact of the profile that is not packed yet."""
    for job in slices.stored(study):
        if (part, job.place) in known or (part == MARGINS and job.kind not in APART):
            continue

        found = store.read(store.folder(job.kind, job.parts))
        if found is None:
            continue  # damaged, and therefore moved aside
        manifest, arrays = found
        names = (*arrays, *manifest.get("left_out", ()))
        own = {name: array for name, array in arrays.items() if _part(job.kind, name) == part}
        if part == FACTS or own:
            yield Piece(store.whole(manifest), names, own)


def _part(kind: str, name: str) -> str | None:
    """Which part an array of an artefact belongs to; None for weights, which stay where they are."""
    if name.startswith(WEIGHTS):
        return None
    return MARGINS if kind in APART and name.startswith("margin") else FACTS
