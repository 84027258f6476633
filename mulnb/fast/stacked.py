"""k small networks trained as one: the same numbers as one after another, in a fraction of the time.

A training step on 8×8 images is so little arithmetic that calling the kernels costs more than running them. Here every layer
holds the parameters of all k networks side by side, so that one batched matrix product serves them all. Activations are
[k, C, H, W, B] with the batch last: the patches of a convolution are then copied in runs of B numbers, whatever its stride.
A grouped convolution would be one line, but takes twice as long for so few channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.fast.products import Product, product


class Stack(nn.Module):
    """k networks as one. Input [k, B, C, H, W], network j reads row j; output logits [k, B, classes].

    The networks share nothing: the gradient of the sum of their losses is, for each network, the gradient of its own loss. The
    result of a network is the same to the bit, whichever others it is stacked with.

    Args:
        networks: k `nn.Sequential`s of one shape, made of the layers in `LAYERS`. Their values are copied in; `copy_to` copies
            them out.
    """

    def __init__(self, networks: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.size = len(networks)

        self.layers = nn.Sequential()
        for copies in zip(*networks, strict=True):  # the same layer of every network
            self.layers.append(LAYERS[type(copies[0])](copies))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [k, B, classes] of images x [k, B, C, H, W]."""
        x = x.permute(0, 2, 3, 4, 1).contiguous()  # [k, C, H, W, B]
        # float32 whatever the recipe says: so small a step gains nothing by bf16
        with torch.autocast(x.device.type, enabled=False):
            return self.layers(x).transpose(1, 2)  # [k, classes, B] → [k, B, classes]

    @torch.no_grad()
    def values(self, j: int) -> list[Tensor]:
        """Parameters and BatchNorm statistics of network j, as views."""
        return [value[j] for value in (*self.parameters(), *self.buffers())]

    @torch.no_grad()
    def copy_to(self, networks: Sequence[nn.Sequential]) -> None:
        """Write the values of the stack back into k separate networks."""
        for j, network in enumerate(networks):
            targets = [*network.parameters(), *_statistics(network)]
            for value, own in zip(self.values(j), targets, strict=True):
                own.copy_(value.view_as(own))


class _Convolution(nn.Module):
    """k 3×3 convolutions with padding 1 and without bias."""

    def __init__(self, copies: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        first = copies[0]
        shape = (first.kernel_size, first.padding, first.groups, first.bias)
        if shape != ((3, 3), (1, 1), 1, None) or first.stride[0] != first.stride[1]:
            raise ValueError(f"only 3×3 convolutions with padding 1 and no bias can be stacked, not {first}")

        self.stride = first.stride[0]
        self.weight = _stacked(copies, "weight")  # [k, O, C, 3, 3]

    def forward(self, x: Tensor) -> Tensor:
        return _Convolve.apply(x, self.weight, self.stride)


class _Convolve(torch.autograd.Function):
    """The convolution as a matrix product with the 3×3 patches of its input (im2col), for all k networks in one call."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        windows = F.pad(x, (0, 0, 1, 1, 1, 1)).unfold(2, 3, stride).unfold(3, 3, stride)  # [k, C, h, w, B, 3, 3], a view
        k, channels, h, w, batch = windows.shape[:5]
        patches = windows.permute(0, 1, 5, 6, 2, 3, 4).reshape(k, channels * 9, h * w * batch)  # the copy

        ctx.save_for_backward(patches, weight)
        ctx.stride, ctx.input = stride, x.shape
        return product(weight.flatten(2), patches).view(k, -1, h, w, batch)  # [k, O, h, w, B]

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, Tensor, None]:
        patches, weight = ctx.saved_tensors
        h, w = dy.shape[2:4]
        dy = dy.flatten(2)  # [k, O, h·w·B]

        d_weight = product(patches, dy.mT).mT.reshape(weight.shape)  # a sixth faster than dy @ patchesᵀ
        if not ctx.needs_input_grad[0]:  # the input is the images
            return None, d_weight, None

        k, channels, height, width, batch = ctx.input
        d_patches = product(weight.flatten(2).mT, dy).view(k, channels, 3, 3, h, w, batch)
        dx = dy.new_empty(k, channels, height + 2, width + 2, batch)
        s = ctx.stride
        dx[:, :, s * h :] = 0  # the first gradients below do not reach these pixels
        dx[:, :, :, s * w :] = 0

        # add each patch's gradient to the pixels that it was copied from
        for i in range(3):
            for j in range(3):
                pixels = dx[:, :, i : i + s * h : s, j : j + s * w : s]
                if i < s and j < s:  # the first gradient of each pixel
                    pixels.copy_(d_patches[:, :, i, j])
                else:
                    pixels.add_(d_patches[:, :, i, j])
        return dx[:, :, 1:-1, 1:-1], d_weight, None


class _Normalisation(nn.Module):
    """k BatchNorms: statistics per network and channel, over the batch and the positions."""

    def __init__(self, copies: Sequence[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.eps, self.momentum = copies[0].eps, copies[0].momentum
        self.weight, self.bias = _stacked(copies, "weight"), _stacked(copies, "bias")  # [k, C]

        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.stack([getattr(norm, name) for norm in copies]))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(1, -1, x.shape[2:].numel())  # [1, k·C, n]: all networks' channels as the channels of one
        gain, shift = self.weight.flatten(), self.bias.flatten()
        if not self.training:
            mean, var = self.running_mean.flatten(), self.running_var.flatten()
            return F.batch_norm(flat, mean, var, gain, shift, eps=self.eps).view_as(x)

        y, mean, var = _Normalise.apply(flat, gain, shift, self.eps)

        # as nn.BatchNorm2d: the running variance is the unbiased one
        n = flat.shape[2]
        self.running_mean.lerp_(mean.view_as(self.running_mean), self.momentum)
        self.running_var.lerp_(var.view_as(self.running_var) * n / (n - 1), self.momentum)
        return y.view_as(x)


class _Normalise(torch.autograd.Function):
    """Batch normalisation of x [1, R, n] along n; also returns the R means and (biased) variances.

    PyTorch's kernels do the work, except for the statistics: they sum those number by number, which takes longer than everything
    else.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(2)
        centred = x - mean[..., None]
        mean, var = mean[0], torch.linalg.vector_norm(centred, dim=2)[0].square() / x.shape[2]  # [R] each

        zero = torch.zeros_like(mean)
        ctx.save_for_backward(centred, gain, zero, torch.rsqrt(var + eps))
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(centred, zero, var, gain, shift, eps=eps), mean, var

    @staticmethod
    def backward(ctx, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, gain, zero, inverse_std = ctx.saved_tensors
        gradients = torch.ops.aten.native_batch_norm_backward(
            dy, centred, gain, None, None, zero, inverse_std, True, 0.0, (True, True, True)
        )
        return *gradients, None


class _Pooling(nn.Module):
    """Adaptive average pooling of [k, C, H, W, B]: the batch is a third dimension that keeps its size."""

    def __init__(self, copies: Sequence[nn.AdaptiveAvgPool2d]) -> None:
        super().__init__()
        size = copies[0].output_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[2:4] == self.size else F.adaptive_avg_pool3d(x, (*self.size, None))


class _Linear(nn.Module):
    """k linear layers on the flattened maps: [k, C, H, W, B] → [k, classes, B]."""

    def __init__(self, copies: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight, self.bias = _stacked(copies, "weight"), _stacked(copies, "bias")  # [k, classes, F], [k, classes]

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[-1]
        x = x.reshape(len(x), -1, batch)  # [k, F, B]
        return Product.apply(self.weight, x) + self.bias[..., None]


LAYERS = {
    nn.Conv2d: _Convolution,
    nn.BatchNorm2d: _Normalisation,
    nn.ReLU: lambda copies: nn.ReLU(),  # in place on a view, autograd would copy the gradient twice
    nn.AdaptiveAvgPool2d: _Pooling,
    nn.Flatten: lambda copies: nn.Identity(),  # `_Linear` flattens
    nn.Linear: _Linear,
}


def _stacked(copies: Sequence[nn.Module], name: str) -> nn.Parameter:
    """The parameter `name` of every network's copy of a layer, side by side."""
    values = [getattr(layer, name).detach() for layer in copies]
    return nn.Parameter(torch.stack(values).contiguous())


def _statistics(network: nn.Module) -> list[Tensor]:
    """The running statistics of BatchNorm, without its counter of batches."""
    return [buffer for name, buffer in network.named_buffers() if "running" in name]
