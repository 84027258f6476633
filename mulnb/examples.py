"""Images and labels on a device, read by index, and how they are augmented.

Every training and every prediction reads its batches from an `Examples`.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import Tensor

from mulnb.data import ImageSet, Splits


class Examples:
    """Images and labels that live on one device and are read by index.

    Args:
        images: [N, C, H, W] uint8, or floating point that is used as it is.
        labels: int64 [N].
        mean, std: [C]; uint8 images are scaled to [0, 1] and normalised by them when they are read.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        self.images, self.labels = images, labels
        self.device = images.device

        self._scale = self._shift = None
        if mean is not None and std is not None:
            # (x / 255 − mean) / std in one multiplication and one addition
            self._scale = (1 / (255 * std)).view(-1, 1, 1).to(self.device)
            self._shift = (-mean / std).view(-1, 1, 1).to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, index: Tensor, moves: Tensor | None = None) -> Tensor:
        """Network inputs of some examples, channels_last.

        Args:
            index: int64 [B], or [k, B] for a stack of k networks.
            moves: [B, 3] or [k, B, 3], how each image is shifted and mirrored; see `moved`.

        Returns:
            Float [B, C, H, W], or [k, B, C, H, W].
        """
        x = self.images[index.flatten()]  # [k·B, C, H, W]
        if moves is not None:
            x = moved(x, moves.flatten(0, -2))

        if self._scale is not None:
            x = torch.addcmul(self._shift, x.float(), self._scale)
        x = x.contiguous(memory_format=torch.channels_last)
        return x if index.dim() == 1 else x.unflatten(0, index.shape)


def device() -> torch.device:
    """The device that everything is computed on: `MULNB_DEVICE`, or the GPU if there is one, or the CPU."""
    return torch.device(os.environ.get("MULNB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def examples(images: ImageSet, splits: Splits) -> Examples:
    """Put a part of the data on the device.

    Args:
        images: the part, e.g. `splits.test`.
        splits: the data set; the mean and the standard deviation of its training set normalise every part.
    """
    to = device()
    pixels = torch.from_numpy(images.images).to(to)
    labels = torch.from_numpy(images.labels).to(to)
    return Examples(pixels, labels, torch.from_numpy(splits.mean), torch.from_numpy(splits.std))


# ---- augmentation


def draw_moves(n: int, generator: torch.Generator) -> Tensor:
    """Draw how n images are augmented.

    Returns:
        int64 [n, 3]: a shift of −4 … 4 rows, a shift of −4 … 4 columns, and 1 for a mirrored image, else 0.
    """
    shifts = torch.randint(-4, 5, (n, 2), generator=generator)
    mirrored = torch.randint(0, 2, (n, 1), generator=generator)
    return torch.cat([shifts, mirrored], 1)


def moved(x: Tensor, moves: Tensor) -> Tensor:
    """Shift and mirror each image; pixels from outside the image are 0. One indexed read does it all.

    Args:
        x: [B, C, H, W].
        moves: int64 [B, 3], see `draw_moves`.

    Returns:
        [B, C, H, W], channels_last.
    """
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) + moves[:, :1] + 4  # [B, H], positions in the padded image
    columns = torch.arange(width, device=x.device) + moves[:, 1:2] + 4
    columns = torch.where(moves[:, 2:] == 1, columns.flip(1), columns)  # [B, W]
    which = torch.arange(len(x), device=x.device)[:, None, None]  # [B, 1, 1]

    padded = F.pad(x, (4, 4, 4, 4))  # [B, C, H + 8, W + 8]
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # from [B, H, W, C]: channels_last
