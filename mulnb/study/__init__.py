"""The experiments: a profile in, tidy frames out, every expensive step stored and never done twice.

Each step is a `Job`: what it is made from (its key), and a function that computes it. `gather` runs the missing ones on the
workers. An interrupted study goes on where it stopped; a finished one only reads.
"""

from mulnb.study.chains import sequential, sequential_scores
from mulnb.study.cost import counts
from mulnb.study.jobs import Job, check, gather, run_job
from mulnb.study.runs import Run, outcome, unlearning, ways
from mulnb.study.scoring import (
    convergence,
    memorization,
    pool,
    proxies,
    proxy_costs,
    scores,
    stored,
    strata,
    training_seconds,
)
from mulnb.study.setup import Bench, bench, splits
from mulnb.study.tuning import tune

__all__ = [
    "Bench",
    "Job",
    "Run",
    "bench",
    "check",
    "convergence",
    "counts",
    "gather",
    "memorization",
    "outcome",
    "pool",
    "proxies",
    "proxy_costs",
    "run_job",
    "scores",
    "sequential",
    "sequential_scores",
    "splits",
    "stored",
    "strata",
    "training_seconds",
    "tune",
    "unlearning",
    "ways",
]
