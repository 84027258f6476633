"""A study smaller still than `smoke`: what the tests ask does not depend on the size."""

SMALL = {
    "seeds": [0],
    "sequential.steps": 2,
    "unlearning.scores": ["memorization", "confidence"],
    "training.epochs": 2,
}
