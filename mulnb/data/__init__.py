"""Data: where images come from, how files are decoded, and how a profile splits them."""

from mulnb.data.images import ImageSet
from mulnb.data.reader import read_folder
from mulnb.data.scores import load_scores
from mulnb.data.splits import Splits, load_data
