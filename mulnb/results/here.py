"""What this machine's verdicts say beside the committed ones, and the record of a machine with another processor.

Two types of processor add in another order, and train a large network to other bits: a close verdict may then differ.
Stacks of small networks get the same bits (`core.instructions`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.machine import device_name
from mulnb.results import record, written
from mulnb.results.statements import BY_ID, PRIMARY
from mulnb.results.verdicts import NO_RESULTS

OTHER_MACHINE = "other_machine.csv"
ELSEWHERE = {
    OTHER_MACHINE: "on another type of processor",
    "own_sums.csv": "with sums in other orders, as other processors' libraries choose them",
    "earlier_search.csv": "with the settings that an earlier search chose",
}
KEY = ["claim", "measured"]  # what identifies an estimate
RECORDED = [*KEY, "verdict", "evidence"]


def differences(profile: Profile, verdicts: pd.DataFrame) -> list[str]:
    """Which primary verdicts differ from the committed ones.

    Args:
        profile: the study.
        verdicts: the claims frame of this machine.

    Returns:
        A line for each verdict that differs; otherwise one line that says that none differs, or why they cannot be compared.
    """
    folder = paths.committed() / profile.name
    if not (folder / "claims.csv").is_file():
        return [f"Profile {profile.name} has no committed verdicts to compare with."]
    if paths.find_result(profile.name, "run.json").parent == folder:
        return ["These are the committed verdicts: run the profile to compare this machine's with them."]
    if not record.is_of(folder, profile):
        return ["The committed verdicts were made with other settings: they are not compared."]

    committed = written.table(folder / "claims.csv", [*RECORDED, "kind"])
    if (_primary(verdicts)["verdict"] == NO_RESULTS).all():
        return ["There are no results with these settings to compare with the committed verdicts."]

    pairs = _primary(committed).merge(_primary(verdicts), on=KEY, suffixes=("", "_here"))
    other = pairs[pairs["verdict"] != pairs["verdict_here"]]
    if other.empty:
        return [f"Beside the {len(pairs)} committed primary verdicts: none differ here."]
    return [f"{row.claim}, {row.measured}: committed {row.verdict}, here {row.verdict_here}" for row in other.itertuples()]


def write_other_machine(profile: Profile, verdicts: pd.DataFrame) -> Path:
    """Record this machine's primary verdicts beside the committed ones, as those of another type of processor.

    Args:
        profile: the study.
        verdicts: the claims frame of this machine.

    Returns:
        The path of `other_machine.csv` among the committed results. A claim whose stage did not run here is left out of it.

    Raises:
        UserError: results of this machine are missing or of other settings, the committed results are of the same
            processor, or the folder cannot be written.
    """
    own, folder = paths.results(profile.name), paths.committed() / profile.name
    if own == folder or not record.is_of(own, profile):
        raise UserError(f"{own} has no results of this machine with these settings: run profile {profile.name} first")

    committed = record.read(folder)
    if not committed:
        raise UserError(f"{folder} has no committed results that this machine could be compared with")

    here = device_name()
    # the machine of the runs behind the verdicts; other stages may have been made elsewhere
    if committed.get("stages", {}).get("unlearning", {}).get("device", committed.get("device")) == here:
        raise UserError(f"the committed results of {profile.name} are of this processor ({here}), not of another one")

    # a claim whose stage did not run here was judged by the committed frames
    ran = set(record.read(own).get("stages", {}))
    rows = _primary(verdicts)
    rows = rows[[BY_ID[claim].stage in ran for claim in rows["claim"]]].assign(device=here)
    if rows.empty:
        raise UserError(f"{own} has no stage that a verdict rests on: run profile {profile.name} first")
    return paths.write_file(folder / OTHER_MACHINE, lambda to: rows.to_csv(to, index=False))


def other_machine(profile_name: str) -> pd.DataFrame | None:
    """The primary verdicts that were recorded on another type of processor.

    Returns:
        Columns `claim measured verdict evidence device`; None if nothing was recorded.
    """
    path = paths.committed() / profile_name / OTHER_MACHINE
    return written.table(path, [*RECORDED, "device"]) if path.is_file() else None


def _primary(verdicts: pd.DataFrame) -> pd.DataFrame:
    return verdicts.loc[verdicts["kind"] == PRIMARY, RECORDED]
