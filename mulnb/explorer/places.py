"""Where an example lies on the map: alike images near each other. From the pixels alone, so that no model is needed.

Few images are placed by t-SNE, which keeps neighbours together and takes seconds; many by their two principal components.
"""

from __future__ import annotations

import numpy as np

FEW = 3000  # images for which t-SNE takes some seconds; its time grows with N·log N
SAMPLE = 5000  # images that the principal components are computed from
SIDE = 16  # pixels: larger images are thinned out first, their details do not decide what is alike
BLOCK = 4096  # images at a time

TSNE = "Alike images lie near each other (t-SNE of the pixels); distances between groups say nothing."
COMPONENTS = "Alike images lie near each other: the first two principal components of the pixels."
OWN = "Places of your own."


def of_images(images: np.ndarray) -> tuple[np.ndarray, str]:
    """The place of every image.

    Args:
        images: uint8 [N, C, H, W].

    Returns:
        Places float32 [N, 2] within 0 … 1, the same for the same images; and what they mean, in a sentence.
    """
    from sklearn.decomposition import PCA

    count, seed = len(images), 0
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])
    pixels = _thinned(images[chosen])
    components = PCA(min(50, count, pixels.shape[1]), random_state=seed).fit(pixels)
    if count > FEW:
        axes = components.components_[:2]  # [2, pixels]
        placed = []
        for start in range(0, count, BLOCK):
            placed.append(_thinned(images[start : start + BLOCK]) @ axes.T)  # [block, 2]
        return unit(np.concatenate(placed)), COMPONENTS

    from sklearn.manifold import TSNE as Neighbours

    # a perplexity is a number of neighbours, so it must stay below the number of examples
    placed = Neighbours(init="pca", perplexity=min(30.0, (count - 1) / 3), random_state=seed)
    return unit(placed.fit_transform(components.transform(pixels))), TSNE


def unit(places: np.ndarray) -> np.ndarray:
    """Places [N, 2] moved and stretched to 0 … 1 along each axis, float32."""
    low, high = places.min(0), places.max(0)
    return ((places - low) / np.where(high > low, high - low, 1)).astype(np.float32)


def _thinned(images: np.ndarray) -> np.ndarray:
    """Every n-th pixel of images uint8 [n, C, H, W], as float32 [n, pixels]."""
    step = max(1, round(images.shape[-1] / SIDE))
    return images[:, :, ::step, ::step].reshape(len(images), -1).astype(np.float32)


def inside(places: np.ndarray, path: list[list[float]]) -> np.ndarray:
    """Which of the places [N, 2] lie within a closed path of points (x, y), bool [N]."""
    from matplotlib.path import Path

    return Path(np.asarray(path, dtype=float)).contains_points(places)
