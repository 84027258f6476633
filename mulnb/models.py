"""The architectures, and `build("resnet18", num_classes=10)`, which makes an untrained network of one.

ResNets and VGG are torchvision's, with the stem that small images need (METHOD §6). `width` scales them down for reduced
profiles.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mulnb.core.registry import ARCHITECTURES


class SmallCNN(nn.Sequential):
    """Three 3×3 convolutions and a linear head, for images of about 8×8. `stacked.Stack` trains many of them as one."""

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__(
            *self._block(in_channels, width, stride=1),  # [B, w, H, W]
            *self._block(width, 2 * width, stride=2),  # [B, 2w, H/2, W/2]
            *self._block(2 * width, 2 * width, stride=2),  # [B, 2w, H/4, W/4]
            nn.AdaptiveAvgPool2d(2),  # [B, 2w, 2, 2]
            nn.Flatten(),
            nn.Linear(8 * width, num_classes),
        )

    @staticmethod
    def _block(channels: int, out: int, stride: int) -> list[nn.Module]:
        """Convolution, normalisation, activation."""
        return [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def _small_cnn(num_classes: int, in_channels: int, width: int | None, stem: str) -> nn.Module:
    """It has no stem: `stem` changes nothing."""
    return SmallCNN(num_classes, in_channels, width or 8)


def _resnet(name: str) -> Callable[..., nn.Module]:
    """The builder of one of torchvision's ResNets."""

    def make(num_classes: int, in_channels: int, width: int | None, stem: str) -> nn.Module:
        from torchvision.models import resnet

        block, layers = {"resnet18": (resnet.BasicBlock, [2, 2, 2, 2]), "resnet50": (resnet.Bottleneck, [3, 4, 6, 3])}[name]
        model = resnet.ResNet(block, layers, num_classes=num_classes)

        width = width or 64
        if width != 64:
            # torchvision fixes the first stage at 64 channels: build the stages again from another number
            model.inplanes = width
            model.bn1 = nn.BatchNorm2d(width)
            for stage, (depth, stride) in enumerate(zip(layers, (1, 2, 2, 2), strict=True)):
                setattr(model, f"layer{stage + 1}", model._make_layer(block, width * 2**stage, depth, stride=stride))
            model.fc = nn.Linear(8 * width * block.expansion, num_classes)

        if stem in ("cifar", "stride2"):
            stride = 1 if stem == "cifar" else 2
            model.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
            model.maxpool = nn.Identity()
        else:
            model.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)

        _spare_narrow_strides(model)
        _initialise(model)
        return model

    return make


def _spare_narrow_strides(model: nn.Module) -> None:
    """Let a pooling of size 1 do the stride of narrow 1×1 convolutions: the same numbers.

    On a CPU, oneDNN's weight gradient of a strided 1×1 convolution with fewer than 16 input channels writes past its buffer and
    crashes the process (oneDNN issue 6035, present in PyTorch 2.15).
    """
    paths = [module for module in model.modules() if isinstance(module, nn.Sequential)]  # a list: the loop adds modules
    for path in paths:
        conv = path[0]
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1) and conv.stride != (1, 1) and conv.in_channels < 16:
            path[0] = nn.Sequential(nn.AvgPool2d(1, conv.stride), conv)
            conv.stride = (1, 1)


def _vgg16_bn(num_classes: int, in_channels: int, width: int | None, stem: str) -> nn.Module:
    """VGG-16 with BatchNorm and one linear layer instead of three. `stem` changes nothing."""
    from torchvision.models import vgg

    width = width or 64
    layers: list[nn.Module] = []
    for step in vgg.cfgs["D"]:  # a number of channels, or "M" for max-pooling
        if step == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            out = step * width // 64
            layers += [nn.Conv2d(in_channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            in_channels = out

    model = vgg.VGG(nn.Sequential(*layers), num_classes=num_classes, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)  # METHOD §6: 64×64 images end in a 2×2 map
    model.classifier = nn.Linear(4 * in_channels, num_classes)
    _initialise(model)
    return model


def _initialise(model: nn.Module) -> None:
    """He initialisation of the convolutions, as torchvision does it, also of the layers that were replaced here."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


_OWN: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": _small_cnn,
    "resnet18": _resnet("resnet18"),
    "resnet50": _resnet("resnet50"),
    "vgg16_bn": _vgg16_bn,
}
ARCHITECTURES.attach(_OWN)


def build(
    arch: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    width: int | None = None,
    stem: str = "cifar",
    seed: int | None = None,
) -> nn.Module:
    """Make an untrained network.

    Args:
        arch: a name of `ARCHITECTURES`.
        num_classes: outputs.
        in_channels: channels of an image.
        width: channels of the first stage (None: as published).
        stem: "cifar" (3×3, stride 1, no max-pooling), "stride2" (the same with stride 2: a quarter of its time), or "imagenet"
            (7×7, stride 2, max-pooling).
        seed: draw the weights from this seed and leave torch's own generator as it was (None: from torch's own).

    Returns:
        A module from images [B, C, H, W] to logits [B, num_classes], in channels_last.

    Raises:
        UserError: an unknown architecture.
    """
    ARCHITECTURES.check(arch)

    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = ARCHITECTURES[arch](num_classes, in_channels, width, stem)

    return model.to(memory_format=torch.channels_last)
