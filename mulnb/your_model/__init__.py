"""Your own model and images: score, choose, unlearn, evaluate."""

from mulnb.your_model.api import read_folder, score, strata, unlearn
from mulnb.your_model.report import Report, evaluate

__all__ = ["Report", "evaluate", "read_folder", "score", "strata", "unlearn"]
