"""Images: where they come from, how they are decoded and split."""

from mulnb.data.images import ImageSet
from mulnb.data.splits import Splits, load_data

__all__ = ["ImageSet", "Splits", "load_data"]
