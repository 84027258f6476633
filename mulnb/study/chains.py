"""Several forget sets in a row, each chosen by the proxy of the current model (METHOD §8)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mulnb.core.store import Artifact
from mulnb.core.vocabulary import CEILING, FLOOR, STRATA
from mulnb.forget import Strata
from mulnb.study.frames import compare, converged, second_oracles_fitted
from mulnb.study.jobs import Job
from mulnb.study.oracles import without
from mulnb.study.ranking import TWO_DIGITS, to_bits
from mulnb.study.recipes import floor_job, oracle_job, step_job
from mulnb.study.study import SHOWN_SEEDS, Study


def _places(study: Study) -> list[tuple[str, int]]:
    """The strategy and the seed of every chain."""
    return list(itertools.product(study.profile.sequential.strategies, study.profile.seeds))


def step_jobs(study: Study, step: int) -> list[Job]:
    """The same step of every chain."""
    return [step_job(study, *place, step) for place in _places(study)]


def _chains(study: Study) -> dict[tuple[str, int], list[Artifact]]:
    """The steps of every (strategy, seed)."""
    places = _places(study)

    chains: dict[tuple[str, int], list[Artifact]] = {place: [] for place in places}
    for step in range(1, study.profile.sequential.steps + 1):
        done = study.gather(step_jobs(study, step), f"sequential unlearning, step {step}")
        for place, artifact in zip(places, done, strict=True):
            chains[place].append(artifact)
    return chains


def _forgotten(step: Artifact) -> np.ndarray:
    """The forget set of one step, sorted."""
    low, medium, high = [step.arrays[name] for name in STRATA]
    return Strata(low, medium, high).forget


class Link(NamedTuple):
    """One step of one chain, as its rows name it."""

    strategy: str
    seed: int
    step: int
    forgets: tuple[np.ndarray, np.ndarray]  # the set of this step, and the union of all sets so far; indices int64
    known: Mapping[str, Any]  # of its network: `outcomes` on the two sets, seconds and passes

    @property
    def place(self) -> tuple[str, int, int]:
        """Strategy, seed and step."""
        return self.strategy, self.seed, self.step

    def oracle(self, study: Study, number: int = 0) -> Job:
        """A network retrained without the union; `number` as of `oracle_job`."""
        return oracle_job(study, self.forgets[1], self.forgets, self.seed, number, relearns=False)

    def floor(self, study: Study) -> Job:
        """The original model on the same sets."""
        return floor_job(study, self.seed, self.forgets, without(len(study.splits.train), self.forgets[1]))


def links(study: Study) -> list[Link]:
    """Every step of every chain."""
    found = []
    for (strategy, seed), chain in _chains(study).items():
        for step, artifact in enumerate(chain, start=1):
            forgets = _forgotten(artifact), np.flatnonzero(~artifact.arrays["present"])
            known = artifact.meta | {"outcomes": [artifact.meta["step"], artifact.meta["union"]]}
            found.append(Link(strategy, seed, step, forgets, known))
    return found


def at_the_ends(study: Study, every: Sequence[Link]) -> list[Link]:
    """The steps on whose sets the floor and the ceiling are measured: those of the first strategy."""
    return [link for link in every if link.strategy == study.profile.sequential.strategies[0]]


def sequential(study: Study) -> pd.DataFrame:
    """The chains of METHOD §8: columns of `unlearning` plus `step` and `scope`.

    `scope` is `step` (that step's set) or `union` (all sets so far); the oracle is retrained without the union. The floor, on the
    sets of the first strategy's chain, is the original model (`strategy` "nothing"); the ceiling is a second oracle ("retrain").
    """
    scored = study.score_seeds(study.profile.seeds)
    every = links(study)
    ends = at_the_ends(study, every)
    oracles = study.gather([link.oracle(study) for link in every], "oracles of the steps")
    ceilings = study.gather([link.oracle(study, number=1) for link in ends], "second oracles of the steps")
    floors = study.gather([link.floor(study) for link in ends], "the original models on every step's sets")
    trusted = converged(scored, [link.seed for link in every], oracles)

    rows = []
    references = {}  # by place: the oracle, and whether it can be trusted
    for link, *reference in zip(every, oracles, trusted, strict=True):
        references[link.place] = reference
        rows += _rows(study, link, *reference)

    scratch = {"passes_retain": float(study.profile.training.epochs), "passes_forget": 0.0}  # what an oracle's training reads
    for name, artifacts in ((FLOOR, floors), (CEILING, ceilings)):
        for link, artifact in zip(ends, artifacts, strict=True):
            end = link._replace(strategy=name, known=scratch | artifact.meta)
            rows += _rows(study, end, *references[link.place])

    frame = pd.DataFrame(rows)
    frame["converged"] &= second_oracles_fitted(frame)
    return frame


def _rows(study: Study, link: Link, oracle: Artifact, trusted: bool) -> list[dict[str, Any]]:
    """The two rows, `step` and `union`, of one step of one chain."""
    plan = study.profile.sequential
    cost = {name: link.known.get(name, np.nan) for name in ("seconds", "passes_retain", "passes_forget")}

    rows = []
    for number, scope in enumerate(("step", "union")):
        head = {
            "profile": study.profile.name,
            "algorithm": plan.algorithm,
            "strategy": link.strategy,
            "score": plan.score,
            "seed": link.seed,
            "step": link.step,
            "scope": scope,
            "n_forget": len(link.forgets[number]),
        }
        reference = oracle.meta["outcomes"][number] | {"seconds": oracle.meta["seconds"]}
        own = compare(link.known["outcomes"][number] | cost, reference)
        rows.append(head | own | {"converged": trusted})
    return rows


def sequential_scores(study: Study) -> pd.DataFrame:
    """Figure 7: the proxy before and after each step. Columns `strategy seed step moment group example value`.

    Of the first `SHOWN_SEEDS` seeds: a row for every example is much to keep, and the figure shows their spread.
    `group` is `forget` (the step's set) or `retain` (what is still present after the step); values have two digits.
    """
    study.score_seeds(study.profile.seeds)
    frames = []
    shown = study.profile.seeds[:SHOWN_SEEDS]
    for (strategy, seed), chain in _chains(study).items():
        if seed not in shown:
            continue
        for step, artifact in enumerate(chain, start=1):
            groups = {"forget": _forgotten(artifact), "retain": np.flatnonzero(artifact.arrays["present"])}
            for moment, (group, members) in itertools.product(("before", "after"), groups.items()):
                head = {"strategy": strategy, "seed": seed, "step": step, "moment": moment, "group": group}
                values = to_bits(artifact.arrays[moment][members], TWO_DIGITS)
                frames.append(pd.DataFrame(head | {"example": members, "value": values}))
    return pd.concat(frames, ignore_index=True)
