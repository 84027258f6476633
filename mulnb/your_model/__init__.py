"""Your own model and images: score, choose, unlearn, evaluate, or all of it in one call."""

from mulnb.your_model.api import Unlearned, score, strata, unlearn
from mulnb.your_model.forgetting import Forgotten, forget
from mulnb.your_model.ledger import Requests
from mulnb.your_model.pictures import read_folder
from mulnb.your_model.recipe import Training
from mulnb.your_model.recorder import Recorder
from mulnb.your_model.report import Report, evaluate
from mulnb.your_model.scores_file import load_scores
from mulnb.your_model.tuning import Tuned, tune

__all__ = [
    "Forgotten",
    "Recorder",
    "Report",
    "Requests",
    "Training",
    "Tuned",
    "Unlearned",
    "evaluate",
    "forget",
    "load_scores",
    "read_folder",
    "score",
    "strata",
    "tune",
    "unlearn",
]
