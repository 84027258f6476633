"""The paper's three systems with their real networks, dry: every stage, two steps a training, one seed.

`cifar10` runs every algorithm and every strategy, each at least once; all pairs of them run on the small network of
`test_unlearning` and `digits`. The two larger networks run what depends on the network in other ways: an algorithm with two
losses in three stages, gradients of single examples, and the full RUM, whose stages are fine-tuning and SalUn's mask of the
weights. What several seeds add (intervals, pairs) does not depend on the network: `smoke` and `digits` run it. The images are
generated: what is under test is that the profiles run as they are, not what they find.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mulnb import load_profile
from mulnb.__main__ import main
from mulnb.core import paths, vocabulary
from mulnb.proxies import PROXIES
from mulnb.results import publish

PAPER = {"cifar10": "resnet18", "cifar100": "resnet50", "tiny-imagenet": "vgg16_bn"}
CLASSES, TRAIN, TEST = 5, 9, 5  # a class more than a dry run takes, and images to spare
EVERY = {  # of `cifar10`, every algorithm with the reference, and the other strategies with algorithms of several kinds
    "fine_tune": ["vanilla", "repeat"],
    "l1_sparse": ["vanilla"],
    "neg_grad": ["vanilla"],
    "neg_grad_plus": ["vanilla", "rum_f"],
    "scrub": ["vanilla"],
    "salun": ["vanilla", "shuffle"],
    "random_label": ["vanilla"],
    "influence": ["vanilla", "rum_f"],
}
SOME = {"neg_grad_plus": ["vanilla", "rum_f"], "influence": ["vanilla"]}  # of the larger networks


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A small tree of real files for each profile: class folders, and Tiny-ImageNet in its official layout."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")

    def picture(place, side: int, label: int) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (side, side, 3)) + 35 * label
        Image.fromarray(pixels.astype(np.uint8)).save(place)

    for label in range(CLASSES):
        for part, count in (("train", TRAIN), ("test", TEST)):
            for number in range(count):
                picture(root / "cifar" / part / f"class {label}" / f"{number}.png", 32, label)
        for number in range(TRAIN):
            picture(root / "tiny" / "train" / f"n{label:08d}" / "images" / f"n{label:08d}_{number}.JPEG", 64, label)
    answers = []
    for number in range(CLASSES * TEST):
        picture(root / "tiny" / "val" / "images" / f"val_{number}.JPEG", 64, number % CLASSES)
        answers.append(f"val_{number}.JPEG\tn{number % CLASSES:08d}\t0\t0\t62\t62\n")
    (root / "tiny" / "val" / "val_annotations.txt").write_text("".join(answers))
    return {"cifar10": root / "cifar", "cifar100": root / "cifar", "tiny-imagenet": root / "tiny"}


def dry(name: str, root) -> dict:
    """What a dry run changes: few images, one seed, one score, fewer models in the pool, and fewer runs of the same kinds."""
    written = load_profile(name).model_dump(mode="json")["unlearning"]["algorithms"]
    runs = EVERY if name == "cifar10" else SOME
    algorithms = {algorithm: {strategy: written[algorithm][strategy] for strategy in runs[algorithm]} for algorithm in runs}

    changes = {
        "limit.steps": 2,
        "dataset.root": str(root),
        "pool.models": 8,
        "seeds": [0],
        "unlearning.scores": ["memorization"],
        "unlearning.algorithms": algorithms,
    }
    return changes if name == "cifar10" else changes | {"sequential.strategies": ["rum_f"], "sequential.steps": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_a_dry_run_of_a_paper_profile(name, roots):
    changes = dry(name, roots[name])
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", "--profile", name, *settings]) == 0

    profile = load_profile(name, changes)
    assert profile.model == load_profile(name).model and profile.model.arch == PAPER[name]  # the network is the paper's

    frames = {key: publish.load(profile.name, key) for key in ("memorization", "proxies", "unlearning", "sequential")}
    assert len(frames["memorization"]) == 8 and frames["memorization"].memorization.notna().all()
    assert set(frames["proxies"].proxy) == set(PROXIES) and np.isfinite(frames["proxies"].value).all()

    runs, algorithms = frames["unlearning"], profile.unlearning.algorithms
    ways = {(algorithm, strategy) for algorithm, strategies in algorithms.items() for strategy in strategies}
    done = set(zip(runs.algorithm, runs.strategy, strict=True))
    assert ways <= done and {algorithm for algorithm, _ in done - ways} == {"rum", "nothing", "retrain"}
    assert len(runs) == len(ways) + 3  # the full RUM, the floor and the ceiling
    assert runs[list(vocabulary.METRICS)].apply(lambda column: column.between(0, 1)).all().all()

    scopes = 2  # the step's own set, and the union of all so far
    chains = len(profile.sequential.strategies) + 2  # and the floor and the ceiling
    assert len(frames["sequential"]) == profile.sequential.steps * scopes * chains
    assert str(roots[name]) not in (paths.results(f"{name}-dry") / "run.json").read_text()  # a path of this machine


def test_what_the_paper_profiles_say():
    """METHOD §6: the numbers that somebody will compare with the paper."""
    for name, arch in PAPER.items():
        profile = load_profile(name)
        assert len(profile.unlearning.algorithms) == 8
        assert (profile.dataset.name, profile.model.arch, profile.model.width) == (name, arch, None)
        assert (profile.training.epochs, profile.training.batch, profile.training.lr) == (30, 256, 0.1)
        assert not profile.training.augment and profile.dataset.train_images is None and profile.forget.size == 1000
        assert profile.pool.share == 0.7 and len(profile.seeds) >= 3 and profile.sequential.steps == 5
        assert [stage.algorithm for stage in profile.unlearning.rum.stages] == [None, "fine_tune", "salun"]
        assert set(profile.tune.grid) == set(profile.unlearning.algorithms)
    pool = load_profile("cifar10").pool
    assert (pool.models, pool.model.stem, pool.training.epochs, pool.training.batch) == (400, "imagenet", 30, 512)
    assert (pool.training.lr, pool.training.milestones) == (0.01, (15, 20, 25))
