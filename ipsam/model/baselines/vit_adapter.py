"""SAM-Adapter: a prompt of task-specific knowledge is added before each block of a ViT.

Chen et al., *SAM-Adapter: Adapting Segment Anything in Underperformed Scenes*, ICCV 2023 workshops.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class ViTAdapter:
    """Settings of SAM-Adapter.

    Args:
        scale_factor: an adapter is this many times narrower than the encoder.
        rate: share of the spectrum that the high-pass filter removes.
    """

    scale_factor: int = 32
    rate: float = 0.25

    def around(self, encoder: Any) -> "AdaptedViT":
        """Wrap transformers' ``SamVisionEncoder`` with adapters; its own weights stay frozen or trainable."""
        return AdaptedViT(encoder, scale_factor=self.scale_factor, rate=self.rate)


class AdaptedViT(nn.Module):
    """ViT with a prompt added to each block's input.

    The prompt of block i is up(gelu(tune_i(F))): ``up`` is shared by all blocks, ``tune_i`` is the block's own, and F
    is the sum of two projections: of the patch embedding, and of the image's high-frequency components.

    Args:
        encoder: transformers' ``SamVisionEncoder``.
        scale_factor, rate: see ``ViTAdapter``.

    Raises:
        ValueError: the encoder is narrower than ``scale_factor``.
    """

    def __init__(self, encoder: Any, *, scale_factor: int, rate: float) -> None:
        super().__init__()
        dim, patch, depth = encoder.config.hidden_size, encoder.config.patch_size, len(encoder.layers)
        hidden = narrowed_width(dim, scale_factor)
        self.encoder = encoder
        self.rate = rate
        self.of_patches = nn.Linear(dim, hidden)
        self.of_frequencies = nn.Conv2d(3, hidden, kernel_size=patch, stride=patch)
        self.tune = nn.ModuleList(nn.Sequential(nn.Linear(hidden, hidden), nn.GELU()) for _ in range(depth))
        self.up = nn.Linear(hidden, dim)
        for added in (self.of_patches, self.of_frequencies, self.tune, self.up):
            added.apply(init_small)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b c h w"]]:
        """Encode an image to (b, c, H/16, W/16), in a tuple as the encoder does."""
        x = self.encoder.patch_embed(image)  # (b, h, w, dim)
        frequencies = self.of_frequencies(high_pass(image, rate=self.rate)).permute(0, 2, 3, 1)
        task = self.of_patches(x) + frequencies  # (b, h, w, hidden)
        x = x + self.encoder.pos_embed
        for layer, tune in zip(self.encoder.layers, self.tune, strict=True):
            x = layer(x + self.up(tune(task)))
        return (self.encoder.neck(x),)


def init_small(module: nn.Module) -> None:
    """Initialise as the authors do, so that a fresh adapter changes little; torch's own would drown the features."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def narrowed_width(dim: int, scale_factor: int) -> int:
    """Compute an adapter's width in a layer of width ``dim``.

    Raises:
        ValueError: the width would be zero.
    """
    if scale_factor < 1 or dim < scale_factor:
        raise ValueError(f"scale_factor must be between 1 and the layer's width {dim}, not {scale_factor}")
    return dim // scale_factor


def high_pass(image: Float[Tensor, "b 3 H W"], *, rate: float = 0.25) -> Float[Tensor, "b 3 H W"]:
    """Return the magnitude of an image without its low frequencies.

    Args:
        image: (b, 3, H, W).
        rate: removed share of the spectrum, a square of ``rate * H * W`` around the zero frequency.
    """
    height, width = image.shape[-2:]
    half = int((height * width * rate) ** 0.5 / 2)
    spectrum = torch.fft.fftshift(torch.fft.fft2(image.float(), norm="forward"), dim=(-2, -1))
    spectrum[..., height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    kept = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="forward")
    magnitude: Tensor = kept.real.abs()
    return magnitude
