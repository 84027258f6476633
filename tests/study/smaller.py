"""A study smaller still than `smoke`: what the tests ask does not depend on the size."""

import numpy as np

from mulnb.core import store
from mulnb.core.store import Artifact
from mulnb.proxies import PROXIES
from mulnb.study import recipes

SMALL = {
    "seeds": [0],
    "sequential.steps": 2,
    "unlearning.scores": ["memorization", "confidence"],
    "training.epochs": 2,
}
FEW = SMALL | {"training.epochs": 4, "dataset.train_images": 200, "dataset.test_images": 50}


def store_scores(here) -> list[str]:
    """Store invented scores of every kind, with seconds; returns the proxies that are read off a training."""
    n, draw = len(here.splits.train), np.random.default_rng(0)
    for job in recipes.pool_jobs(here):
        bits = {name: np.packbits(draw.random((len(job.task), n)) < 0.5, axis=1) for name in ("member", "correct")}
        store.put(job.kind, job.parts, Artifact(bits, {"wall_s": 5.0}))

    read_off = [name for name in PROXIES.names if name != "holdout_retraining"]
    for seed in here.profile.seeds:
        job, tuned = recipes.original_job(here, seed), recipes.holdout_job(here, seed)
        scores = {name: draw.random(n) for name in read_off}
        meta = {"seconds": dict.fromkeys(read_off, 1.0 + seed), "training_s": 10.0 + seed, "acc_train": 1.0, "wall_s": 99.0}
        store.put(job.kind, job.parts, Artifact(scores, meta))
        store.put(tuned.kind, tuned.parts, Artifact({"holdout_retraining": draw.random(n)}, {"wall_s": 3.0}))
    return read_off
