"""The audits beyond the paper, read from stored margins: no model is trained here (METHOD §7b)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mulnb.audit import klom, membership
from mulnb.audit.compare import CELL
from mulnb.core.store import Artifact
from mulnb.forget import Strata
from mulnb.study.ranking import FOUR_DIGITS, to_bits
from mulnb.study.recipes import oracle_of, unlearning_job
from mulnb.study.runs import NOT_UNLEARNED, Run, ways
from mulnb.study.study import SHOWN_SEEDS

if TYPE_CHECKING:
    from mulnb.study.study import Study

KLOM = ("klom", "klom_retain", "klom_test")  # on S, R and T
EXAMPLE = ("margin", "lira", "rmia")  # of one example
MEMBERSHIP = ("lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc")


def columns(
    study: Study, frame: pd.DataFrame, sets: Sequence[Strata], unlearned: Sequence[Artifact], oracles: Sequence[Artifact]
) -> pd.DataFrame:
    """`frame` with the columns `lira_auc lira_tpr01 lira_tpr001 rmia_auc relearn_epochs klom_…`, and the oracle's own.

    Args:
        study: its pool gives the shadow models.
        frame: a row per run, as `study.unlearning` makes it.
        sets: of each row, what was forgotten.
        unlearned: of each row, the artefact of the unlearned model.
        oracles: of each row, that of its oracle.
    """
    rows = []
    for of_run in zip(sets, unlearned, oracles, strict=True):
        rows.append(_of_run(study, *of_run))
    frame = pd.concat([frame, pd.DataFrame(rows, index=frame.index)], axis=1)

    return _with_klom(frame, sets, unlearned, oracles)


def _of_run(study: Study, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> dict[str, float]:
    """Membership and relearn time of one run and of its oracle."""
    row: dict[str, float] = {}
    for prefix, artifact in (("", unlearned), ("oracle_", oracle)):
        summary = dict.fromkeys(MEMBERSHIP, np.nan)
        if study.shadow is not None and "margin" in artifact.arrays:
            scores = study.shadow.scores(artifact.arrays["margin"], artifact.arrays["margin_test"], chosen.forget)
            summary = scores.summary()

        summary["relearn_epochs"] = artifact.meta.get("relearn_epochs", np.nan)
        row |= {prefix + name: value for name, value in summary.items()}
    return row


def _with_klom(
    frame: pd.DataFrame, sets: Sequence[Strata], unlearned: Sequence[Artifact], oracles: Sequence[Artifact]
) -> pd.DataFrame:
    """KLoM of each algorithm × strategy × score, over its seeds: all rows of such a cell have the same values.

    `klom_p50 klom_p95` are on S, `klom_retain_…` on R and `klom_test_…` on T. An example of D is measured over the seeds whose
    forget set holds it (on R: whose forget set does not), if they are `klom.FEWEST` at least: by a proxy, which chooses other
    sets with every seed, that is a small part of S (`klom_examples`). The oracle's own values are those of the second oracles,
    which are the rows of algorithm `retrain`.
    """
    cells = []
    for _, rows in frame.groupby(CELL, sort=False):
        places = rows.index.to_numpy()
        models, references = [unlearned[place] for place in places], [oracles[place] for place in places]
        if all("margin" in model.arrays for model in models):  # else a run diverged
            values = _klom(models, references, [sets[place] for place in places])
            cells.append(pd.DataFrame(values, index=places))

    names = [f"{part}_{end}" for part, end in itertools.product(KLOM, ("p50", "p95"))]
    values = pd.concat(cells) if cells else pd.DataFrame()
    frame = frame.join(values.reindex(index=frame.index, columns=names))

    ceiling = frame[frame["algorithm"] == "retrain"].drop_duplicates("score").set_index("score")
    for name in names:
        frame[f"oracle_{name}"] = frame["score"].map(ceiling[name])
    return frame


def _klom(unlearned: Sequence[Artifact], oracles: Sequence[Artifact], sets: Sequence[Strata]) -> dict[str, float]:
    """KLoM on S, R and T of one cell, from the models of its k seeds."""
    margins = np.stack([artifact.arrays["margin"] for artifact in unlearned])  # [k, N]
    references = np.stack([artifact.arrays["margin"] for artifact in oracles])

    forgotten = np.zeros(margins.shape, dtype=bool)  # [k, N], in the forget set of the seed
    for row, chosen in enumerate(sets):
        forgotten[row, chosen.forget] = True
    members = np.flatnonzero(forgotten.any(0))

    on_forget = klom.per_example(margins[:, members], references[:, members], forgotten[:, members])
    on_retain = klom.per_example(margins, references, ~forgotten)
    on_test = klom.per_example(
        np.stack([artifact.arrays["margin_test"] for artifact in unlearned]),
        np.stack([artifact.arrays["margin_test"] for artifact in oracles]),
    )

    values = {}
    for part, each in zip(KLOM, (on_forget, on_retain, on_test), strict=True):
        values |= klom.summary(each, part)
    return values


def klom_examples(study: Study) -> dict[str, int]:
    """On how many examples KLoM is measured, by score: those that the forget sets of at least `klom.FEWEST` seeds hold."""
    found = {}
    for score in study.refining_scores:
        together = np.concatenate([study.strata(score, seed).forget for seed in study.profile.seeds])
        _, times = np.unique(together, return_counts=True)
        found[score] = int((times >= klom.FEWEST).sum())
    return found


def examples(study: Study, score: str) -> pd.DataFrame:
    """Membership scores example by example, for the runs on forget sets by `score`, of the first `SHOWN_SEEDS` seeds.

    Returns:
        Columns `algorithm strategy score seed example group margin lira rmia oracle_margin oracle_lira oracle_rmia`; `group` is
        `forget` (S; `example` is its position in D) or `test` (T; its position in T). Without rows where there is no pool, or
        where `score` chose no forget set.
    """
    if study.shadow is None or score not in study.refining_scores:
        return pd.DataFrame(columns=[*CELL, "seed", "example", "group", *EXAMPLE, *(f"oracle_{name}" for name in EXAMPLE)])

    frames = []
    for algorithm, strategy, settings in [*ways(study.profile), NOT_UNLEARNED]:
        for seed in study.profile.seeds[:SHOWN_SEEDS]:
            run, chosen = Run(algorithm, strategy, score, seed, settings), study.strata(score, seed)
            unlearned = study.get(unlearning_job(study, run, chosen))
            oracle = study.get(oracle_of(study, chosen, seed))
            if "margin" in unlearned.arrays:
                frames.append(_of_examples(study.shadow, run, chosen, unlearned, oracle))
    return pd.concat(frames, ignore_index=True)


def _of_examples(shadow: membership.Shadow, run, chosen: Strata, unlearned: Artifact, oracle: Artifact) -> pd.DataFrame:
    """One run's rows of `examples`."""
    columns = {}
    for prefix, artifact in (("", unlearned), ("oracle_", oracle)):
        margin, margin_test = artifact.arrays["margin"], artifact.arrays["margin_test"]
        scores = shadow.scores(margin, margin_test, chosen.forget)

        # the examples of S, then those of T
        columns[f"{prefix}margin"] = np.concatenate([margin[chosen.forget], margin_test])
        columns[f"{prefix}lira"] = np.concatenate([scores.lira_forget, scores.lira_test])
        columns[f"{prefix}rmia"] = np.concatenate([scores.rmia_forget, scores.rmia_test])

    n, m = len(chosen.forget), len(unlearned.arrays["margin_test"])
    head = {"algorithm": run.algorithm, "strategy": run.strategy, "score": run.score, "seed": run.seed}
    head["example"] = np.concatenate([chosen.forget, np.arange(m)])
    head["group"] = np.repeat(["forget", "test"], [n, m])
    floats = {name: to_bits(values.astype(np.float32), FOUR_DIGITS) for name, values in columns.items()}
    return pd.DataFrame(head | floats)
