"""From numbers to one verdict: what happened to the forget set and to the model, in words, with a colour and the reasons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

NOTHING = "nothing was forgotten"
NOT_FORGOTTEN = "not forgotten"
FORGOTTEN = "forgotten as far as can be told"
OVER = "over-forgotten"
DAMAGED = "the model is damaged"
NO_POWER = "the attack has no power here"
WRONG = "hold-out or normalisation is wrong"

COLOURS = {
    FORGOTTEN: "green",
    NO_POWER: "orange",
    OVER: "orange",
    NOT_FORGOTTEN: "red",
    NOTHING: "red",
    DAMAGED: "red",
    WRONG: "red",
}
MISFIT = "labels, their order or normalize=(mean, std) are wrong"
LOST = 0.05  # accuracy on the retain set or on unseen images that a model may lose before it counts as damaged
SAME = 0.02  # mean change of the label's probability on the forget set that counts as none
APART = 0.08  # difference of two AUCs that counts, where there are many examples
BALANCED = 0.5  # share of the way from chance to 1 beyond which a model knows its classes, however rare some are
USELESS = 0.5  # how far below training images the accuracy of a hold-out at chance lies when it must be wrong
FEW = 20  # examples of a forget set, below which accuracy cannot tell
SURE = 0.3  # difference of the mean probability of their labels that then counts
STAND_INS = "mulnb.forget, which trains stand-ins for an oracle, or report.train_oracle"  # what to try without a reference
CHECK = "check labels, their order, normalize=(mean, std) and the hold-out"
LESS = "fewer epochs, a smaller lr, or an alpha nearer to 1"
POWER = 0.1  # how much more often unseen images must be taken for unseen than retained ones


@dataclass(frozen=True)
class Reference:
    """What a model that never saw the forget set does on it."""

    acc_forget: float
    low: float  # of the interval of its accuracy on the forget set
    high: float
    auc: float  # how well the label's probability tells the forget set from unseen images: .5 not at all, 1 if always larger
    acc_test: float
    exact: bool  # whether it comes from such models (an oracle, stand-ins); the hold-out says nothing about harder sets
    source: str  # where it comes from, in words
    p: float = math.nan  # the mean probability of the labels on the forget set; NaN if unknown


@dataclass(frozen=True)
class Verdict:
    """`words`: one of the constants of this module. `colour`: green, orange or red. `reasons`: a sentence each.

    `sure`: the reference comes from models that never saw the forget set, and not from the hold-out alone.
    """

    words: str
    reasons: tuple[str, ...]
    advice: str = ""
    sure: bool = True

    @property
    def colour(self) -> str:
        return "orange" if self.words == FORGOTTEN and not self.sure else COLOURS[self.words]

    @property
    def good(self) -> bool:
        """Whether the forget set is forgotten, by a reference that can vouch for it."""
        return self.words == FORGOTTEN and self.sure

    def __str__(self) -> str:
        lines = [f"verdict: {self.words}"]
        lines += [f"  - {reason}" for reason in self.reasons]
        if self.advice:
            lines.append(f"  try: {self.advice}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Facts:
    """What a verdict needs beside the rows of a report."""

    n_forget: int  # images
    n_retain: int
    n_test: int
    n_unseen: int  # images that the forget set is compared with
    chance: float  # accuracy of always saying the most frequent class
    reference: Reference
    overlap: str = ""  # a sentence about a hold-out that is not unseen
    moved: float = math.nan  # mean |change| of the labels' probability since the original; NaN without one
    p: float = math.nan  # mean probability of the labels of the forget set in the unlearned model
    changed: float = math.nan  # share of its predictions that became right or wrong since the original; NaN without one
    gone: tuple[int, ...] = field(default=())  # the classes that are forgotten as a whole
    guess: float = math.nan  # accuracy of guessing labels as often as they occur; NaN takes `chance`
    balanced: float = 0.0  # `above_chance` on the retain set


def interval(share: float, n: int) -> tuple[float, float]:
    """Where the share of another model over n examples may lie, if this one's is `share` (95 %).

    The Wilson interval of the share, and whatever count of n examples is no surprise at it: of six examples at .97, all six.
    """
    if n == 0 or math.isnan(share):
        return 0.0, 1.0

    from scipy.stats import binom

    z = 1.96
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    fewest, most = binom.ppf((0.025, 0.975), n, min(max(share, 0.0), 1.0)) / n
    return float(min(max(0.0, centre - half), fewest)), float(max(min(1.0, centre + half), most))


def near_chance(accuracy: float, chance: float, n: int, where: str, balanced: float = 0.0) -> str:
    """A sentence about a model that knows next to nothing of images that it was trained on, or "". Every call asks here.

    Args:
        accuracy: on these images.
        chance: the accuracy of always saying the most frequent class.
        n: over how many images the accuracy was counted.
        where: what these images are called.
        balanced: see `Facts`. A model that was trained for rare classes may be near chance in accuracy and yet know its classes.
    """
    if chance == 1:
        return "all training images have the same label: nothing can be told from a model of one class"

    # A classifier that learnt something is well beyond a tenth of the way to 1, and beyond two standard errors. Of few images
    # these errors are large: half of the way is always enough.
    noise = min(0.5 * (1 - chance), 2 * math.sqrt(chance * (1 - chance) / max(n, 1)))
    if accuracy > chance + max(0.1 * (1 - chance), noise) or balanced > BALANCED:
        return ""
    return f"accuracy on {where} is {accuracy:.2f}, near chance ({chance:.2f}): {MISFIT}"


def above_chance(right: np.ndarray, labels: np.ndarray) -> float:
    """How far the mean of the classes' accuracies lies above that of always saying one class, as a share of the way to 1.

    Args:
        right: bool [n], which examples a model is right about.
        labels: [n].
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        return 0.0
    mean = float(np.mean([right[labels == name].mean() for name in classes]))
    return (mean - 1 / len(classes)) / (1 - 1 / len(classes))


def knows(row: Mapping[str, float], reference: Reference, noise: float) -> bool:
    """Whether a model knows the forget set better than one that never saw it; a difference of the AUC within `noise` is none."""
    return row["acc_forget"] > reference.high or row["auc"] > reference.auc + max(SAME, noise)


def unseen_at_chance(accuracy: float, known: float, chance: float, where: str) -> str:
    """A sentence about unseen images at chance, if the model is right about `known` of those it was trained on; or ""."""
    if accuracy > chance or known - accuracy < USELESS:
        return ""
    return f"accuracy on {where} is {accuracy:.2f}, near chance ({chance:.2f}), and {known:.2f} on training images: {MISFIT}"


def decide(rows: Mapping[str, Mapping[str, float]], facts: Facts) -> Verdict:
    """The verdict on the model `unlearned`.

    Args:
        rows: of the report: `unlearned`, and where they were given `original` and `oracle`.
        facts: see `Facts`.
    """
    new, original = rows["unlearned"], rows.get("original")
    reference = facts.reference
    known_best = original or new

    # signs that the data do not fit the model
    lost = near_chance(known_best["acc_retain"], facts.chance, facts.n_retain, "the retain set", facts.balanced)
    wrong = [told for told in (lost, facts.overlap) if told]

    whole = "original" if original is not None else "oracle"  # what damage is told from
    damage = _damage(new, rows.get(whole), whole, reference, facts)
    under, over = _beside_reference(new, reference, facts)
    under += _recognised(new, rows.get("oracle"), facts)
    known = original is not None and knows(original, reference, auc_noise(facts.n_forget, facts.n_unseen))
    power = original is None or known or has_power(original)

    # no change is told first: it needs no hold-out, and it is what defaults most often do
    same = original is not None and facts.changed <= 1 / max(facts.n_forget, 50) and facts.moved < SAME
    unchanged = f"indistinguishable from the original: {facts.changed:.0%} of the predictions on the forget set changed"
    if same and not lost and (known or not power or wrong or not reference.exact):
        advice = "more epochs, a larger lr, or mulnb.forget, which searches for a strength"
        return Verdict(NOTHING, (unchanged, *under, *wrong), advice)

    if wrong:
        nothing = (f"{NOTHING}: {unchanged}",) if same else ()
        return Verdict(WRONG, (*wrong, *nothing, *under, *over, *damage), CHECK)

    fell = original is not None and original["acc_forget"] - new["acc_forget"] > LOST
    if damage or under or over:
        return _failed(damage, under, over, fell, reference.exact)

    guess = facts.chance if math.isnan(facts.guess) else facts.guess
    if at_chance := unseen_at_chance(known_best["acc_test"], known_best["acc_retain"], guess, "unseen images"):
        return Verdict(WRONG, (at_chance,), CHECK)
    if not power:
        advice = "a reference: report.train_oracle, or evaluate(…, references=…), models for LiRA"
        return Verdict(NO_POWER, (_powerless(original),), advice)

    return _forgotten(new, reference, same, whole in rows)


def _failed(damage: list[str], under: list[str], over: list[str], fell: bool, exact: bool) -> Verdict:
    """The verdict on a model that is damaged, or that forgot too little or too much. `fell`: it forgot at least something."""
    if damage and (over or (fell and not under)):
        lost_too = "what was to be kept is forgotten, too: the model is damaged"
        return Verdict(OVER, (*over, *damage, lost_too), LESS)
    if damage:
        return Verdict(DAMAGED, (*damage, *under), "a smaller lr, fewer epochs, or an algorithm that trains on the retain set")
    if under:
        return Verdict(NOT_FORGOTTEN, tuple(under), "more epochs, a larger lr, or mulnb.tune")

    # a hard set lies there, too: only a model that never saw it can tell
    return Verdict(OVER, tuple(over), LESS if exact else f"an oracle, which can tell (report.train_oracle), or {LESS}")


def _forgotten(new: Mapping[str, float], reference: Reference, same: bool, beside_whole: bool) -> Verdict:
    """The verdict on a model with no sign against it. `beside_whole`: an original or an oracle shows what else it lost."""
    told = f"[{reference.low:.2f}, {reference.high:.2f}] ({reference.source})"
    found = [f"accuracy on the forget set is {new['acc_forget']:.2f}, within {told}", _pairs(new, reference)]
    advice = "" if reference.exact else STAND_INS

    if not reference.exact:
        found.append(
            "the hold-out is the only reference: for a set that is harder than it, forgetting is not shown to be complete"
        )
    if same:
        found.append("the original hardly differs: these examples were not memorized, and little was to be forgotten")
    if not beside_whole:
        found.append("what the model lost on other images cannot be told without the original")
        advice = advice or "evaluate(…, original=model)"

    return Verdict(FORGOTTEN, tuple(found), advice, reference.exact and beside_whole)


def searched(verdict: Verdict) -> Verdict:
    """The verdict at the end of a search: it was `mulnb.forget` that ended so, and what helps is more of it."""
    if verdict.advice == STAND_INS:  # the search had none to go by
        return dataclasses.replace(verdict, advice="report.train_oracle, or a larger budget and fresh=…, for stand-ins")
    if "mulnb." not in verdict.advice:
        return verdict
    return dataclasses.replace(verdict, advice="a larger budget, other algorithms (algorithm=…), or a model that is trained anew")


def _damage(
    new: Mapping[str, float], known: Mapping[str, float] | None, name: str, reference: Reference, facts: Facts
) -> list[str]:
    """What the model lost on images that it was to keep, beyond chance, beside a whole model of this name."""
    if known is None:
        return []

    found = []

    for key, words, n in (("acc_retain", "the retain set", facts.n_retain), ("acc_test", "unseen images", facts.n_test)):
        before = known[key]
        if key == "acc_test" and reference.exact and not math.isnan(reference.acc_test):
            before = min(before, reference.acc_test)  # what a model without the forget set reaches

        noise = 2 * math.sqrt(max(before * (1 - before), 0.25 / max(n, 1)) / max(n, 1))
        if before - new[key] > max(LOST, noise):
            fell = f"fell from {before:.3f} to" if name == "original" else f"is {before:.3f} in the {name}, and here"
            found.append(f"accuracy on {words} {fell} {new[key]:.3f}")

    return found


def _beside_reference(new: Mapping[str, float], reference: Reference, facts: Facts) -> tuple[list[str], list[str]]:
    """Whether the forget set is still better known than the reference says, or less."""
    under, over = [], []
    told = f"[{reference.low:.2f}, {reference.high:.2f}] ({reference.source})"
    if new["acc_forget"] > reference.high + 1e-9:
        under.append(f"accuracy on the forget set is {new['acc_forget']:.2f}, above {told}")
    if new["acc_forget"] < reference.low - 1e-9:
        hard = "" if reference.exact else "; a set that is harder than the hold-out lies there even in an oracle"
        over.append(f"accuracy on the forget set is {new['acc_forget']:.2f}, below {told}{hard}")
    if facts.n_forget < FEW and reference.exact and not math.isnan(reference.p):
        # accuracy over so few examples says nothing: compare how sure the model is of the labels
        told = f"the mean probability of the labels in the forget set is {facts.p:.2f}, in the reference {reference.p:.2f}"
        if facts.p - reference.p > SURE:
            under.append(told)
        if reference.p - facts.p > SURE:
            over.append(told)

    gap, noise = new["auc"] - reference.auc, max(APART, auc_noise(facts.n_forget, facts.n_unseen))
    if gap > noise:
        under.append(_pairs(new, reference))
    if -gap > noise and reference.exact and not facts.gone:
        over.append(_pairs(new, reference))

    return under, over


def _recognised(new: Mapping[str, float], oracle: Mapping[str, float] | None, facts: Facts) -> list[str]:
    """A sentence, if LiRA still tells the forget set from unseen images; nothing where no reference models were given."""
    if "lira_auc" not in new:
        return []

    expected = 0.5 if oracle is None else oracle["lira_auc"]
    if new["lira_auc"] - expected <= max(APART, auc_noise(facts.n_forget, facts.n_unseen)):
        return []

    beside = "chance is 0.50" if oracle is None else f"the oracle's is {expected:.2f}"
    return [f"LiRA tells the forget set from unseen images with an AUC of {new['lira_auc']:.2f}; {beside}"]


def auc_noise(n: int, m: int) -> float:
    """Two standard errors of an AUC of .5 over n and m examples."""
    return 2 * math.sqrt((n + m + 1) / (12 * max(n, 1) * max(m, 1)))


def _pairs(new: Mapping[str, float], reference: Reference) -> str:
    return (
        f"the model is surer of a forgotten than of an unseen image in {new['auc']:.2f} of the pairs, "
        f"the reference in {reference.auc:.2f}"
    )


def has_power(row: Mapping[str, float]) -> bool:
    """Whether retained and unseen images can be told apart at all, by the attack, by accuracy, or by LiRA."""
    if row.get("lira_auc", 0.5) - 0.5 > POWER:
        return True
    return row["mia_unseen"] - row["mia_retain"] > POWER or row["acc_retain"] - row["acc_test"] > LOST


def _powerless(row: Mapping[str, float]) -> str:
    return (
        f"in the original the attack takes {row['mia_unseen']:.2f} of unseen and {row['mia_retain']:.2f} of retained images for "
        "unseen: what was forgotten cannot be told by it"
    )
