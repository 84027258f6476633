"""What kind of evidence a profile is: one of the paper's experiments, a reduced version of one, or a demonstration."""

from __future__ import annotations

from mulnb.config import Profile
from mulnb.results.paper import PAPER_PAIRS, SIZES

NAMED_FIRST = {"of width", "stem", "pool share"}  # "stem stride2", but "10 classes"


def standing(profile: Profile) -> str:
    """What a profile's results are evidence of, in one or two sentences of Markdown."""
    if not _a_pair(profile):
        return (
            "**A demonstration**: the paper did not use this data set and network, so what is shown here shows how the method "
            "behaves on a small problem; it neither reproduces nor refutes the paper's numbers."
        )
    if changed := deviations(profile):
        return (
            f"**A reduced version** of one of the paper's pairs of data set and architecture ({', '.join(changed)}): it shows "
            "how the method behaves at this size; it neither reproduces nor refutes the paper's numbers."
        )
    return "One of the paper's pairs of data set and architecture, with the paper's sizes."


def in_the_paper(profile: Profile) -> bool:
    """Whether a profile is one of the paper's experiments in every number that is known: data set, network and all sizes."""
    return _a_pair(profile) and not deviations(profile)


def deviations(profile: Profile) -> list[str]:
    """In which numbers a profile differs from the paper's experiment on the same data set and architecture.

    Args:
        profile: a profile of one of the paper's pairs.

    Returns:
        One phrase per number that differs, for example "3000 training and hold-out images instead of 50000".
    """
    data, model = profile.dataset, profile.model
    numbers = {
        "classes": data.classes,
        "training and hold-out images": data.train_images,
        "test images": data.test_images,
        "pixels a side": data.size,
        "of width": model.width,
        "stem": model.stem,
        "epochs": profile.training.epochs,
        "examples a stratum": profile.forget.size,
    }
    if getattr(profile.pool, "scores", None) is None:  # imported scores have no pool of this profile's size
        numbers |= {"pool models": profile.pool.models, "pool share": profile.pool.share}

    found = []
    for words, paper in SIZES[data.name, model.arch].items():
        here = numbers.get(words)
        if here is None or here == paper:
            continue
        what = f"{words} {here}" if words in NAMED_FIRST else f"{here} {words}"
        found.append(f"{what} instead of {paper}")
    return found


def _a_pair(profile: Profile) -> bool:
    return (profile.dataset.name, profile.model.arch) in PAPER_PAIRS
