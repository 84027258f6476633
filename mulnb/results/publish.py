"""What a stage of a study leaves behind: tidy frames (`data/*.parquet`), tables (CSV and Markdown) and `run.json`.

The notebooks call `publish` and draw figures from the frames that it returns; `mulnb run` calls it without the figures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence

import pandas as pd

from mulnb import study
from mulnb.audit import klom
from mulnb.config import Profile
from mulnb.core import memory, paths, vocabulary
from mulnb.core.errors import UserError, notice
from mulnb.results import claims, evidence, frame_file, record, search, tables, thumbnails, written
from mulnb.results.paper import PAIRS

Frames = dict[str, pd.DataFrame]
STAGE_OF = {"proxy_costs": "proxies", "crossed": "unlearning"}  # frames that are not called like their stage
UNSEEN = {"holdout": "the hold-out set", "test": "the test set, as the authors' code does"}  # METHOD §3: which it was is printed


def publish(profile: Profile, stage: str) -> Frames:
    """Compute a stage, or read it from the store, and write its frames and tables.

    Args:
        profile: the study.
        stage: one of `STAGES`, or `tune`.

    Returns:
        The stage's frames by name; none for `tune`, which leaves a table only.

    Raises:
        UserError: the stage is unknown, or the results folder cannot be written.
    """
    if stage == "tune":
        return _tune(profile)
    if stage not in STAGES:
        raise UserError(f"unknown stage '{stage}': known are {', '.join(STAGES)}, tune")

    memory.forget_peak()
    study.Study.of(profile).worker_peak_mb = 0.0
    frames = STAGES[stage](profile)
    with record.held(profile):  # a run with other settings waits: its frames would be told as this one's
        _write(profile, stage, frames)
    return frames


def _write(profile: Profile, stage: str, frames: Frames) -> None:
    """Write what a stage has found, and say so in the record."""
    record.begin(profile)  # before the first table, too: all that lies there from now on is of this profile
    if stage in TABLES:
        TABLES[stage](profile, frames)
    for name, frame in frames.items():
        path = paths.results(profile.name) / "data" / f"{name}.parquet"
        paths.write_file(path, lambda to, frame=frame: frame_file.write(frame, to))
    if stage == "memorization":
        thumbnails.write(profile)
    record.write(profile, stage, frames, order=STAGES)


def load(profile_name: str, frame: str) -> pd.DataFrame | None:
    """Read a published frame.

    Args:
        profile_name: the profile's name.
        frame: the frame's name, for example `unlearning`.

    Returns:
        The frame, or None if its stage was not run.

    Raises:
        UserError: the file is damaged.
    """
    path = paths.find_result(profile_name, f"data/{frame}.parquet")
    if not path.exists():
        return None

    try:
        return written.frame(path)
    except UserError as error:
        raise UserError(f"{error} --profile {profile_name}") from None


def across(profile: Profile, frame: str, pairs: Sequence[str] = tuple(PAIRS)) -> tuple[dict[str, pd.DataFrame | None], list[str]]:
    """One frame of several profiles, for the figures that compare the paper's pairs.

    Args:
        profile: the profile at hand; if it has results, they are shown first while a pair has none: there is something to see.
        frame: the frame's name.
        pairs: keys of `PAIRS`, in the order in which they are shown.

    Returns:
        The frame by profile name (None where there are no results), and the names of the profiles that stand for the pairs.
    """
    shown = []
    for pair in pairs:
        published = [name for name in PAIRS[pair] if load(name, frame) is not None]
        shown.append(published[0] if published else pair)

    found = {name: load(name, frame) for name in shown}
    incomplete = any(results is None for results in found.values())
    at_hand = load(profile.name, frame)
    if incomplete and profile.name not in found and at_hand is not None:
        found = {profile.name: at_hand} | found
    return found, shown


def publish_claims(profile: Profile) -> pd.DataFrame:
    """Compare the paper's claims with what this profile shows; writes `claims.csv` and `claims.md`.

    Where all frames are left out, nothing is written: the claims that stand there are those of these frames.

    Args:
        profile: a profile whose stages were published.

    Returns:
        The frame of verdicts (`claims.verdicts`).

    Raises:
        UserError: the results folder cannot be written.
    """
    names = {"costs": "proxy_costs", "unlearning": "unlearning", "crossed": "crossed", "sequential": "sequential"}
    frames = {argument: _of_these_settings(profile, frame) for argument, frame in names.items()}

    proxies, memorization = _of_these_settings(profile, "proxies"), _of_these_settings(profile, "memorization")
    if proxies is not None and memorization is not None:
        written.check_same_examples(paths.find_result(profile.name, "data/memorization.parquet"), proxies, memorization)
        frames["correlations"] = evidence.correlations(proxies, memorization)

    verdicts = claims.verdicts(profile, **frames)
    if not all_left_out(profile):
        claims.write(verdicts, profile)
    return verdicts


def all_left_out(profile: Profile) -> bool:
    """Whether there are results of this profile, and all are of other settings, or of settings that a damaged record hides."""
    folder = paths.results(profile.name)
    known = record.is_of(folder, profile)
    return known is False or (known is None and (folder / "run.json").exists())


def _of_these_settings(profile: Profile, frame: str) -> pd.DataFrame | None:
    """A published frame; None, with a notice, if other settings made it: its verdicts would be told as this profile's."""
    path = paths.find_result(profile.name, f"data/{frame}.parquet")
    made = record.read(path.parents[1]) if path.is_file() else {}
    stage = STAGE_OF.get(frame, frame)
    if path.is_file() and "profile" not in made and (path.parents[1] / "run.json").exists():
        notice(f"{path} is left out: run.json beside it is damaged and does not say its settings: run the stage {stage} again")
        return None
    if "profile" in made and (made["profile"] != profile.numbers() or stage not in made.get("stages", {})):
        notice(f"{path} was made with other settings than these and is left out: run the stage {stage} with these")
        return None
    return load(profile.name, frame)


# ---- the stages


def _memorization(profile: Profile) -> Frames:
    return {"memorization": study.memorization(profile), "convergence": study.convergence(profile)}


def _proxies(profile: Profile) -> Frames:
    return {"proxies": study.proxies(profile), "proxy_costs": study.proxy_costs(profile), "fidelity": study.fidelity(profile)}


def _unlearning(profile: Profile) -> Frames:
    frames = {"unlearning": study.unlearning(profile), "crossed": study.crossed(profile)}
    if len(frames["crossed"]) == 0:  # a given forget set has no order by memorization
        del frames["crossed"]
    return frames


def _sequential(profile: Profile) -> Frames:
    return {"sequential": study.sequential(profile), "sequential_scores": study.sequential_scores(profile)}


def _audits(profile: Profile) -> Frames:
    """Membership scores example by example, of the forget sets by the first score; the audits' columns are in `unlearning`."""
    return {"audit_examples": study.audit_examples(profile, study.Study.of(profile).refining_scores[0])}


def _mistakes(profile: Profile) -> Frames:
    """What common mistakes would have done to the results; no verdict rests on it."""
    return {"mistakes": study.mistakes(profile)}


# ---- their tables


def _proxy_tables(profile: Profile, frames: Frames) -> None:
    caption = (
        "Table 1. Each proxy against exact memorization: Spearman ρ of the oriented proxy (raw, and corrected for the noise of "
        "the exact scores), the share of its high stratum that is in memorization's, and its cost on top of training. "
        f"Hold-out retraining fine-tunes on {UNSEEN[profile.proxies.holdout_retraining.holdout]}."
    )
    tables.write(tables.proxy_table(frames["proxy_costs"]), profile, "table1_proxies", caption)


def _unlearning_tables(profile: Profile, frames: Frames) -> None:
    frame = frames["unlearning"]
    full_rum = vocabulary.mix(profile.unlearning.rum)
    note = f" {full_rum}." if full_rum else ""

    caption = "Tables 2-7. ToW and ToW-MIA against the retrained oracle, by the score that chose the forget set."
    tables.write(tables.tow_table(frame), profile, "table2_tow", caption + note)

    caption = "Tables 2-7, what is behind ToW: accuracies, MIA efficacy and runtime, with the oracle's beside them."
    tables.write(tables.accuracy_table(frame), profile, "table3_accuracies", caption + note)

    if tables.has_audits(frame):
        caption = (
            "Audits beyond the paper, with the oracle's own values beside them: they, and not .5 or 0, are what to reach. LiRA "
            "and RMIA are offline; LiRA's standard deviation is one for all examples."
        )
        tables.write(tables.audit_table(frame), profile, "table_audits", caption)

        caption = (
            "KLoM, the distance of the unlearned models' margins from the oracles', on the forget set S, the retain set R and "
            "the test set T; the ceiling's, and not 0, is what to reach. One number over all seeds; on S of the examples that "
            f"at least {klom.FEWEST} of them forget{_counted(study.klom_examples(profile))}."
        )
        tables.write(tables.klom_table(frame), profile, "table_klom", caption)

    if full_rum:
        caption = f"The full {full_rum} against every other run on the same forget sets, each for itself: above 0, RUM is better."
        tables.write(tables.rum_table(frame), profile, "table_rum", caption)

    if "crossed" in frames:
        caption = "Only the order differs: the forget set of memorization, refined by RUM^F in the order of each score."
        tables.write(tables.crossed_table(frames["crossed"]), profile, "table_crossed", caption)


def _counted(examples: dict[str, int]) -> str:
    """ " (107 by memorization, 18 by confidence)"."""
    return f" ({', '.join(f'{count} by {vocabulary.label(score)}' for score, count in examples.items())})"


def _sequential_tables(profile: Profile, frames: Frames) -> None:
    steps, score = profile.sequential.steps, vocabulary.label(profile.sequential.score)
    caption = (
        f"Figure 3 as numbers: {steps} sets in a row, each chosen by {score} on the current model, so that each strategy has its "
        "own from step 2 on; floor and ceiling are on those of "
        f"{vocabulary.label(profile.sequential.strategies[0])}. Passes over R: over all of D but the step's set."
    )
    tables.write(tables.sequential_table(frames["sequential"]), profile, "table_sequential", caption)


# ---- the search


def _tune(profile: Profile) -> Frames:
    """The hyper-parameter search. Rows of algorithms outside `tune.grid` are kept from the previous table."""
    search.kept(profile, profile.tune.grid)  # a damaged table is told before hours of work
    found = study.tune(profile)
    with record.held(profile):  # another search may add its rows at the same time
        _write_search(profile, found)
    return {}


def _write_search(profile: Profile, found: pd.DataFrame) -> None:
    """Write the table of a search, and of earlier ones of other algorithms."""
    kept = search.kept(profile, found["algorithm"].unique())
    frame = found if kept is None else pd.concat([kept, found], ignore_index=True)

    # six digits, as in the CSV: the page says the same as somebody reads off it
    frame = pd.read_csv(io.StringIO(frame.to_csv(index=False, float_format="%.6g")), dtype={"seeds": str})
    caption = (
        "The hyper-parameter search, on seeds that no result uses, but on the same images: the test set is that of the results, "
        "and forget sets by memorization share many examples with theirs."
    )
    if _pinned(profile, found):
        caption += " The chosen settings are those pinned in the profile."
    tables.write(frame, profile, "tune", caption, text=search.page(frame, profile, caption))


def _pinned(profile: Profile, found: pd.DataFrame) -> bool:
    """Whether the profile's settings are the winners of a search."""
    for row in found[found["chosen"]].itertuples():
        strategies = profile.unlearning.algorithms.get(row.algorithm, {})
        if json.loads(row.settings) != strategies.get(row.strategy):
            return False
    return True


STAGES: dict[str, Callable[[Profile], Frames]] = {
    "memorization": _memorization,
    "proxies": _proxies,
    "unlearning": _unlearning,
    "sequential": _sequential,
    "audits": _audits,
    "mistakes": _mistakes,
}
TABLES: dict[str, Callable[[Profile, Frames], None]] = {
    "proxies": _proxy_tables,
    "unlearning": _unlearning_tables,
    "sequential": _sequential_tables,
}
ON_REQUEST = ("mistakes",)  # stages that run only when they are named, as `tune` does
