"""EfficientNet-Lite0, of the bundled model, without timm: importing that takes as long as importing torch."""

import math
from types import SimpleNamespace
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LITE = "tf_efficientnet_lite0"  # timm's
STEM = 32  # channels
STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAST = (0, 1, 2, 4, 6)  # stages before the next stride


class EfficientNetLite(nn.Module):
    """Same modules as timm's feature extractor of that name: equal names, initial weights and outputs, to the bit."""

    pretrained_cfg: ClassVar = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    feature_info = SimpleNamespace(
        reduction=lambda: [2, 4, 8, 16, 32], channels=lambda: [STAGES[index][-1] for index in LAST]
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SamePadding(3, STEM, 3, stride=2, bias=False)
        self.bn1 = _Norm(STEM)
        _ = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)  # timm draws these random numbers for a probe, too
        width, stages = STEM, []
        for number, kernel, stride, expansion, out in STAGES:
            first = _Block(width, out, kernel, stride, expansion)
            stages.append(nn.Sequential(first, *(_Block(out, out, kernel, 1, expansion) for _ in range(number - 1))))
            width = out
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the features of strides 2, 4, 8, 16 and 32."""
        features, found = self.bn1(self.conv_stem(image)), []
        for index, stage in enumerate(self.blocks):
            features = stage(features)
            if index in LAST:
                found.append(features)
        return found


class _SamePadding(nn.Conv2d):
    """Convolution padded as TensorFlow does: an odd row or column of padding comes below or on the right."""

    def forward(self, input: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d _ _"]:
        padding: list[int] = []
        for length, kernel, step in zip(input.shape[:1:-1], self.kernel_size, self.stride, strict=True):  # all square
            both = max((math.ceil(length / step) - 1) * step + kernel - length, 0)
            padding += [both // 2, both - both // 2]
        return super().forward(F.pad(input, padding))


class _Norm(nn.BatchNorm2d):
    def __init__(self, width: int, *, activation: bool = True) -> None:
        super().__init__(width, eps=1e-3)
        self.activation = activation

    def forward(self, input: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        normed: Tensor = super().forward(input)
        return F.relu6(normed, inplace=True) if self.activation else normed


class _Block(nn.Sequential):
    """Inverted residual; without expansion a depthwise and a pointwise convolution."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        inner = width * expansion
        depthwise: dict[str, Any] = {"stride": stride, "groups": inner, "bias": False}
        same = _SamePadding if stride > 1 else nn.Conv2d
        padding = 0 if stride > 1 else kernel // 2
        parts: dict[str, nn.Module] = {}
        if expansion > 1:
            parts |= {"conv_pw": nn.Conv2d(width, inner, 1, bias=False), "bn1": _Norm(inner)}
        first, second = ("bn2", "bn3") if expansion > 1 else ("bn1", "bn2")
        parts |= {"conv_dw": same(inner, inner, kernel, padding=padding, **depthwise), first: _Norm(inner)}
        parts["conv_pwl" if expansion > 1 else "conv_pw"] = nn.Conv2d(inner, out, 1, bias=False)
        super().__init__()
        for name, part in {**parts, second: _Norm(out, activation=False)}.items():
            self.add_module(name, part)
        self.has_skip = stride == 1 and width == out

    def forward(self, input: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d _ _"]:
        output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return output + input if self.has_skip else output
