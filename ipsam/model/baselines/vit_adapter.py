"""SAM-Adapter's adaptation of a ViT: a prompt of task-specific knowledge added before each block.

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
    """How SAM-Adapter adapts an image encoder.

    Args:
        scale_factor: an adapter is this many times narrower than the encoder.
        rate: share of the spectrum that is removed for the high-frequency components.
    """

    scale_factor: int = 32
    rate: float = 0.25

    def around(self, encoder: Any) -> "AdaptedViT":
        """The encoder, transformers' ``SamVisionEncoder``, with adapters; it stays as it is, frozen or not."""
        return AdaptedViT(encoder, scale_factor=self.scale_factor, rate=self.rate)


class AdaptedViT(nn.Module):
    """A ViT whose blocks each see their input plus a prompt.

    The prompt of block i is up(gelu(tune_i(F))): ``up`` is shared by all blocks, ``tune_i`` the block's own, and F the
    sum of two projections, of the patch embedding and of the image's high-frequency components.

    Args:
        encoder: transformers' ``SamVisionEncoder``.
        scale_factor, rate: as ``ViTAdapter`` has them.

    Raises:
        ValueError: for an encoder narrower than ``scale_factor``.
    """

    def __init__(self, encoder: Any, *, scale_factor: int, rate: float) -> None:
        super().__init__()
        dim, patch, depth = encoder.config.hidden_size, encoder.config.patch_size, len(encoder.layers)
        hidden = narrow(dim, scale_factor)
        self.encoder = encoder
        self.rate = rate
        self.of_patches = nn.Linear(dim, hidden)
        self.of_frequencies = nn.Conv2d(3, hidden, kernel_size=patch, stride=patch)
        self.tune = nn.ModuleList(nn.Sequential(nn.Linear(hidden, hidden), nn.GELU()) for _ in range(depth))
        self.up = nn.Linear(hidden, dim)
        for added in (self.of_patches, self.of_frequencies, self.tune, self.up):
            added.apply(begin_small)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b c h w"]]:
        """Image embedding (b, c, H/16, W/16), in a tuple as the encoder's own."""
        x = self.encoder.patch_embed(image)  # (b, h, w, dim)
        frequencies = self.of_frequencies(high_pass(image, rate=self.rate)).permute(0, 2, 3, 1)
        task = self.of_patches(x) + frequencies  # (b, h, w, hidden)
        x = x + self.encoder.pos_embed
        for layer, tune in zip(self.encoder.layers, self.tune, strict=True):
            x = layer(x + self.up(tune(task)))
        return (self.encoder.neck(x),)


def begin_small(module: nn.Module) -> None:
    """The authors' initialisation, by which a fresh adapter changes little: torch's own would drown the features."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def narrow(dim: int, scale_factor: int) -> int:
    """Width of an adapter in a layer of width ``dim``.

    Raises:
        ValueError: if nothing is left.
    """
    if scale_factor < 1 or dim < scale_factor:
        raise ValueError(f"adapter.scale_factor={scale_factor} leaves nothing of a layer of width {dim}")
    return dim // scale_factor


def high_pass(image: Float[Tensor, "b 3 H W"], *, rate: float = 0.25) -> Float[Tensor, "b 3 H W"]:
    """Magnitude of what is left of an image without its low frequencies.

    Args:
        image: (b, 3, H, W).
        rate: share of the spectrum that is removed: a square of ``rate * H * W`` around the zero frequency.
    """
    height, width = image.shape[-2:]
    half = int((height * width * rate) ** 0.5 / 2)
    spectrum = torch.fft.fftshift(torch.fft.fft2(image.float(), norm="forward"), dim=(-2, -1))
    spectrum[..., height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    kept = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="forward")
    magnitude: Tensor = kept.real.abs()
    return magnitude
