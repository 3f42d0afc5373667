"""SAM2-Adapter: SAM-Adapter's prompts for Hiera, stage by stage.

Chen et al., *SAM2-Adapter: Evaluating & Adapting Segment Anything 2 in Downstream Tasks*, 2024.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.baselines.vit_adapter import high_pass, init_small, narrowed_width


@dataclass(frozen=True)
class HieraAdapter:
    """Settings of SAM2-Adapter.

    Args:
        scale_factor: an adapter is this many times narrower than its stage.
        rate: share of the spectrum that the high-pass filter removes.
    """

    scale_factor: int = 32
    rate: float = 0.25

    def around(self, trunk: Any) -> "AdaptedHiera":
        """Wrap the trunk, sam2's ``Hiera``, with adapters; its own weights stay frozen or trainable."""
        return AdaptedHiera(trunk, scale_factor=self.scale_factor, rate=self.rate)


class OverlapPatches(nn.Module):
    """A strided convolution with overlapping patches and a LayerNorm over channels."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, features: Float[Tensor, "b c_in _ _"]) -> Float[Tensor, "b c_out _ _"]:
        """Project (b, in_channels, height, width) to (b, out_channels, height/stride, width/stride)."""
        normalised: Tensor = self.norm(self.proj(features).permute(0, 2, 3, 1))
        return normalised.permute(0, 3, 1, 2)


class StageAdapter(nn.Module):
    """Prompts of one stage with ``depth`` blocks of width ``dim``."""

    def __init__(self, dim: int, depth: int, *, hidden: int) -> None:
        super().__init__()
        self.of_embedding = nn.Linear(dim, hidden)
        self.tune = nn.ModuleList(nn.Sequential(nn.Linear(hidden, hidden), nn.GELU()) for _ in range(depth))
        self.up = nn.Linear(hidden, dim)

    def forward(
        self, embedding: Float[Tensor, "b h w c"], frequencies: Float[Tensor, "b c_hidden h w"]
    ) -> Iterator[Float[Tensor, "b h w c"]]:
        """Yield a prompt (b, h, w, dim) for each block, from the stage's input and its high frequencies."""
        task = self.of_embedding(embedding) + frequencies.permute(0, 2, 3, 1)
        for tune in self.tune:
            yield self.up(tune(task))


class AdaptedHiera(nn.Module):
    """Hiera with a prompt added to each block's input, made as in ``AdaptedViT``.

    A stage here is a run of blocks with inputs of one width: the block that widens the features belongs to the stage
    before. F is the sum of two projections: of the stage's input, and of the high-frequency components, which strided
    convolutions carry from stage to stage.

    Args:
        trunk: sam2's ``Hiera``.
        scale_factor, rate: see ``HieraAdapter``.

    Attributes:
        channel_list: the trunk's channels, which the neck reads.

    Raises:
        ValueError: a stage is narrower than ``scale_factor``.
    """

    def __init__(self, trunk: Any, *, scale_factor: int, rate: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.channel_list = trunk.channel_list
        self.rate = rate
        stages = Counter(block.dim for block in trunk.blocks)  # width -> number of blocks, in order
        hidden = [narrowed_width(dim, scale_factor) for dim in stages]
        self.stages = nn.ModuleList(
            StageAdapter(dim, depth, hidden=width) for (dim, depth), width in zip(stages.items(), hidden, strict=True)
        )
        self.frequencies = nn.ModuleList(
            [
                OverlapPatches(3, hidden[0], kernel_size=7, stride=4),
                *(OverlapPatches(before, after, kernel_size=3, stride=2) for before, after in pairwise(hidden)),
            ]
        )
        for added in (self.stages, self.frequencies):
            added.apply(init_small)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return each stage's features, (b, dim, H/4, W/4) to (b, dim, H/32, W/32), as the trunk does."""
        x = self.trunk.patch_embed(image)  # (b, H/4, W/4, dim)
        x = x + self.trunk._get_pos_embed(x.shape[1:3])
        frequencies = high_pass(image, rate=self.rate)
        blocks = iter(enumerate(self.trunk.blocks))
        outputs = []
        for stage, carry in zip(self.stages, self.frequencies, strict=True):
            frequencies = carry(frequencies)  # (b, hidden, height, width)
            for prompt, (index, block) in zip(stage(x, frequencies), blocks, strict=False):
                x = block(x + prompt)
                if index in self.trunk.stage_ends:
                    outputs.append(x.permute(0, 3, 1, 2))
        return outputs
