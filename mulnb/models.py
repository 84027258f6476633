"""The one registry of architectures: `build("resnet18", num_classes=10)`.

ResNets and VGG are torchvision's, with the stem that small images need (METHOD §6); `width` scales them down for reduced profiles.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mulnb.errors import UserError


class SmallCNN(nn.Module):
    """Three 3×3 convolutions and a linear head, for images of about 8×8.

    `copies` networks live side by side in one: every convolution is grouped, so copy j sees only its own channels. Input
    [B, copies·C, H, W]; output [B, classes] for one copy, [B, copies, classes] for more. Training k copies together is the same
    arithmetic as training k networks, in one kernel launch instead of k.
    """

    def __init__(self, num_classes: int, in_channels: int, width: int, copies: int = 1) -> None:
        super().__init__()
        self.copies, self.num_classes = copies, num_classes
        self.body = nn.Sequential(
            *self._block(in_channels, width, stride=1),  # [B, k·w, H, W]
            *self._block(width, 2 * width, stride=2),  # [B, k·2w, H/2, W/2]
            *self._block(2 * width, 2 * width, stride=2),  # [B, k·2w, H/4, W/4]
            nn.AdaptiveAvgPool2d(2),  # [B, k·2w, 2, 2]
        )
        # a 2×2 convolution over a 2×2 map is a linear layer, and can be grouped
        self.head = nn.Conv2d(copies * 2 * width, copies * num_classes, 2, groups=copies)

    def _block(self, channels: int, out: int, stride: int) -> list[nn.Module]:
        k = self.copies
        conv = nn.Conv2d(k * channels, k * out, 3, stride, padding=1, bias=False, groups=k)
        return [conv, nn.BatchNorm2d(k * out), nn.ReLU(inplace=True)]

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.body(x)).flatten(1)  # [B, k·classes]
        return logits if self.copies == 1 else logits.view(len(x), self.copies, self.num_classes)


def _small_cnn(num_classes: int, in_channels: int, width: int | None, stem: str, copies: int = 1) -> nn.Module:
    return SmallCNN(num_classes, in_channels, width or 8, copies)


def _resnet(name: str) -> Callable[..., nn.Module]:
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
        if stem == "cifar":
            model.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
            model.maxpool = nn.Identity()
        else:
            model.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        _initialise(model)
        return model

    return make


def _vgg16_bn(num_classes: int, in_channels: int, width: int | None, stem: str) -> nn.Module:
    from torchvision.models import vgg

    width = width or 64
    layout = ["M" if step == "M" else step * width // 64 for step in vgg.cfgs["D"]]
    layers: list[nn.Module] = []
    for step in layout:
        if step == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(in_channels, step, 3, padding=1), nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
            in_channels = step
    model = vgg.VGG(nn.Sequential(*layers), num_classes=num_classes, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)  # METHOD §6: 64×64 images end in a 2×2 map
    model.classifier = nn.Linear(4 * layout[-2], num_classes)
    _initialise(model)
    return model


def _initialise(model: nn.Module) -> None:
    """He initialisation of the convolutions, as torchvision does it, for the layers replaced here too."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": _small_cnn,
    "resnet18": _resnet("resnet18"),
    "resnet50": _resnet("resnet50"),
    "vgg16_bn": _vgg16_bn,
}
STACKABLE = frozenset({"small_cnn"})  # architectures that take `copies`


def build(
    arch: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    width: int | None = None,
    stem: str = "cifar",
    seed: int | None = None,
    copies: int = 1,
) -> nn.Module:
    """A freshly initialised network, in channels_last.

    `width`: channels of the first stage (None: as published). `stem`: "cifar" (3×3, stride 1, no max-pooling) or "imagenet".
    `seed`: draw the weights from this seed and leave torch's own generator as it was. `copies`: see `SmallCNN`.
    Raises `UserError` for an unknown architecture, or for copies of one that cannot be stacked.
    """
    if arch not in ARCHITECTURES:
        raise UserError(f"unknown architecture '{arch}': known are {', '.join(ARCHITECTURES)}")
    if copies > 1 and arch not in STACKABLE:
        raise UserError(f"architecture '{arch}' cannot be trained as {copies} copies in one network: set pool.group to 1")
    extra = {"copies": copies} if copies > 1 else {}
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = ARCHITECTURES[arch](num_classes, in_channels, width, stem, **extra)
    return model.to(memory_format=torch.channels_last)
