"""The experiments: a profile in, tidy frames out. Every expensive step is stored and never computed twice.

`Study.of(profile)` holds what the experiments share. Each step is a `Job`: everything that its result depends on (the key), and
a function that computes it. `gather` runs the missing jobs on the workers. An interrupted study continues where it stopped, and
a finished one only reads. The functions here take a profile and are all that a notebook needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mulnb.config import Profile
from mulnb.core.vocabulary import CEILING, FLOOR
from mulnb.data import Splits
from mulnb.forget import Strata
from mulnb.study import audits, chains, frames, mistaken_runs, ranking, tuning
from mulnb.study.cost import counts
from mulnb.study.jobs import Job, check
from mulnb.study.runs import Run, ways
from mulnb.study.study import Study


def splits(profile: Profile) -> Splits:
    """The profile's data, loaded once in a process."""
    return Study.of(profile).splits


def memorization(profile: Profile) -> pd.DataFrame:
    """Exact scores: columns `example label memorization se n_in n_out flipped` (METHOD §2)."""
    return Study.of(profile).memorization


def convergence(profile: Profile) -> pd.DataFrame:
    """How the exact scores settle as the pool grows: columns `models repeat split_half spearman_full mean_se`."""
    return ranking.convergence(Study.of(profile))


def proxies(profile: Profile) -> pd.DataFrame:
    """Columns `example proxy seed raw value` (METHOD §3): rankings; `value` rises with memorization."""
    return ranking.proxies(Study.of(profile))


def proxy_costs(profile: Profile) -> pd.DataFrame:
    """Table 1: how well each proxy ranks as memorization does, and what it costs; see `ranking.proxy_costs`."""
    return ranking.proxy_costs(Study.of(profile))


def fidelity(profile: Profile) -> pd.DataFrame:
    """Cost against fidelity: columns `kind name count seed seconds spearman overlap reliability`."""
    return ranking.fidelity(Study.of(profile))


def strata(profile: Profile, score: str, seed: int) -> Strata:
    """The three strata of a score; those of the file, where the profile names one.

    Args:
        profile: the study.
        score: "memorization", or the name of a proxy.
        seed: of the original model that a proxy is read off; it also draws ties.
    """
    return Study.of(profile).strata(score, seed)


def unlearning(profile: Profile) -> pd.DataFrame:
    """Every algorithm × strategy × score × seed against its oracle (METHOD §5–§7); columns: see figures/README.md."""
    return frames.unlearning(Study.of(profile))


def crossed(profile: Profile) -> pd.DataFrame:
    """One forget set refined in the order of each score (METHOD §7c): columns of `unlearning` and `order`."""
    return frames.crossed(Study.of(profile))


def audit_examples(profile: Profile, score: str = "memorization") -> pd.DataFrame:
    """Membership scores example by example (METHOD §7b); see `audits.examples`."""
    return audits.examples(Study.of(profile), score)


def klom_examples(profile: Profile) -> dict[str, int]:
    """On how many examples KLoM is measured, by the score that chose the forget sets."""
    return audits.klom_examples(Study.of(profile))


def outcome(profile: Profile, run: Run, chosen: Strata) -> dict[str, Any]:
    """The row of `unlearning` for one run on strata of your own, see `frames.outcome`."""
    return frames.outcome(Study.of(profile), run, chosen)


def sequential(profile: Profile) -> pd.DataFrame:
    """Forget sets in a row (METHOD §8): columns of `unlearning` plus `step scope`."""
    return chains.sequential(Study.of(profile))


def sequential_scores(profile: Profile) -> pd.DataFrame:
    """Figure 7: columns `strategy seed step moment group example value`."""
    return chains.sequential_scores(Study.of(profile))


def mistakes(profile: Profile) -> pd.DataFrame:
    """What ToW would have been with each common mistake (METHOD §10); see `mistaken_runs.mistakes`."""
    return mistaken_runs.mistakes(Study.of(profile))


def tune(profile: Profile) -> pd.DataFrame:
    """The recorded search (METHOD §6): a row per algorithm × strategy × candidate."""
    return tuning.tune(Study.of(profile))


def stored(profile: Profile) -> bool:
    """Whether memorization and proxies can be read without training anything."""
    return Study.of(profile).stored()


def compute_seconds(profile: Profile, stage: str, frames: dict[str, pd.DataFrame]) -> float:
    """Seconds of training and unlearning behind a stage, summed over workers, as the artefacts recorded them.

    Args:
        profile: the study.
        stage: `memorization`, `proxies`, or the name of a frame of unlearning.
        frames: the frames of the stage, by name.
    """
    study = Study.of(profile)

    if stage == "audits":
        return 0.0  # read from stored margins
    if stage == "mistakes":
        return mistaken_runs.seconds(study)
    if stage == "memorization":
        return 0.0 if study.pool is None else study.pool.seconds
    if stage == "proxies":
        return frames["proxy_costs"].seconds.sum() * len(profile.seeds) + ranking.training_seconds(study)

    # every run once, and every oracle once, whichever rows it stands in
    keys: Sequence[str] = ("score", "seed")
    table = frames[stage]
    if stage == "sequential":
        keys, table = ("strategy", "seed", "step"), table[(table.scope == "union") & ~table.strategy.isin([FLOOR, CEILING])]
    else:
        table = table[~table.algorithm.isin([FLOOR, CEILING])]

    return float(table.seconds.sum() + table.drop_duplicates([*keys]).oracle_seconds.sum())
