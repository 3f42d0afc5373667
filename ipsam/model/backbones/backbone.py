"""Contract of a backbone: what prompt-space conditioning needs of an image encoder and a prompt encoder."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.utils.imagenet import MEAN, STD

MULTIPLE = 32  # pixels that an input's side is a multiple of: the coarsest level has H/32
NUM_LEVELS = 3  # levels of the feature pyramid
PATCH = 16  # pixels a side of one cell of the embedding grid


class Backbone(nn.Module):
    """Image encoder with a neck, and a prompt encoder of SAM2's class.

    A subclass implements ``forward``. It may override the methods about prompts for another prompt encoder.

    Args:
        image_size: side of the square input in pixels, a multiple of 32.
        dim: embedding width c.

    Attributes:
        image_size, dim: as given.
        multiple: number of pixels that ``image_size`` is a multiple of.
        num_levels: levels of the pyramid that it can make: 3, or 1 for the image embedding alone.
        prompt_encoder: embeds prompts; frozen unless ``train_prompt_encoder``.
        train_prompt_encoder: whether its mask branch and point types 0 and 1 are trained.
        checkpoint: file of pretrained weights that frozen parts keep, or None.
        base_sha256: SHA-256 of ``checkpoint``; None if a run saves every weight itself.
        pretrained_sha256: SHA-256 of a file that training only starts from, for the record; None if none was read.

    Raises:
        ValueError: an invalid size.
    """

    multiple: int = MULTIPLE
    num_levels: int = NUM_LEVELS
    prompt_encoder: Any
    train_prompt_encoder: bool = False
    checkpoint: Path | None = None
    base_sha256: str | None = None
    pretrained_sha256: str | None = None

    def __init__(self, image_size: int, dim: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.dim = dim
        self.kept_position: Tensor | None
        self.register_buffer("kept_position", None, persistent=False)

    def forward(
        self, image: Float[Tensor, "b 3 H W"], *, num_levels: int = NUM_LEVELS
    ) -> list[Float[Tensor, "b c _ _"]]:
        """Encode an image (b, 3, H, W), normalised by ImageNet's mean and standard deviation, to a feature pyramid.

        Returns the coarsest ``num_levels`` of three levels, finest first: (b, c, H/4, W/4), (b, c, H/8, W/8) and the
        image embedding (b, c, h, w).
        """
        raise NotImplementedError

    def freeze_finer_levels(self) -> None:
        """Freeze the layers of the two finer levels alone, for a model that reads only the image embedding.

        They would get no gradient, which training on several processes takes for an error.
        """
        raise NotImplementedError

    def encoder_blocks(self) -> Iterable[nn.Module]:
        """Return the image encoder's blocks in order, for activation checkpointing; none if it can't be done."""
        return []

    def keep_constants(self) -> None:
        """Compute the position encodings once, for inference at ``image_size``."""
        with torch.no_grad():
            self.kept_position = self.position()

    def resize(self, image_size: int) -> None:
        """Take images of another side from now on: position encodings and prompt grid follow, the weights stay.

        Raises:
            ValueError: an invalid size.
        """
        check_image_size(image_size)
        self.image_size, grid = image_size, image_size // PATCH
        self.prompt_encoder.input_image_size = (image_size, image_size)
        self.prompt_encoder.image_embedding_size = (grid, grid)
        self.prompt_encoder.mask_input_size = (4 * grid, 4 * grid)
        self.renew_constants()

    def renew_constants(self) -> None:
        """Compute the kept position encodings again, if there are any."""
        if self.kept_position is not None:
            self.kept_position = None
            with torch.inference_mode(False):  # so that they serve outside of inference mode too
                self.keep_constants()

    def position(self) -> Float[Tensor, "1 c h w"]:
        """Return the position encoding of the embedding grid."""
        if self.kept_position is not None:
            return self.kept_position
        encoding: Tensor = self.prompt_encoder.get_dense_pe()
        return encoding

    def encode_dense(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b c h w"]:
        """Embed raw logits as dense prompt: no sigmoid, no binarising (paper section 3.2)."""
        embedding: Tensor = self.prompt_encoder.mask_downscaling(logits)
        return embedding

    def point_type(self, label: int) -> Float[Tensor, "1 c"]:
        """Return the point-type embedding of label 1 (positive) or 0 (negative)."""
        weight: Tensor = self.prompt_encoder.point_embeddings[label].weight
        return weight

    def null_prompts(self, batch: int) -> tuple[Float[Tensor, "b 0 c"], Float[Tensor, "b c h w"]]:
        """Return empty sparse tokens and the embedding of a zero mask: the baselines' null prompts (section 4.1)."""
        like = self.point_type(0)
        zeros = torch.zeros(batch, 1, *self.prompt_encoder.mask_input_size, device=like.device)
        return torch.zeros(batch, 0, self.dim, device=like.device), self.encode_dense(zeros)


def check_image_size(image_size: int, multiple: int = MULTIPLE) -> None:
    """Raise ValueError unless a side is a positive multiple of so many pixels."""
    if image_size < multiple or image_size % multiple:
        raise ValueError(f"image_size must be a positive multiple of {multiple} pixels, not {image_size}")


def normalisation(mean: Sequence[float], std: Sequence[float]) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Return the factor and the summand that turn ImageNet's mean and standard deviation of an image into others."""
    factor = torch.tensor(STD) / torch.tensor(std)
    summand = (torch.tensor(MEAN) - torch.tensor(mean)) / torch.tensor(std)
    return factor.view(3, 1, 1), summand.view(3, 1, 1)


class Neck(nn.Module):
    """Layers of SAM2's neck, for ``feature_pyramid``.

    Args:
        dim: embedding width c.
        channels: widths of the stages at H/4, H/8, H/16 and H/32.
    """

    fpn_top_down_levels = (2, 3)

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(width, dim, kernel_size=1))) for width in reversed(channels)
        )


def feature_pyramid(neck: Any, stages: Sequence[Tensor], num_levels: int) -> list[Tensor]:
    """Apply a neck of SAM2's kind to an encoder's stages, (b, _, H/4, W/4) to (b, _, H/32, W/32).

    Its ``convs`` go from H/32 to H/4.

    Returns the coarsest ``num_levels`` levels, finest first, without H/32, which sam2 drops too (``scalp``). They equal
    the neck's own, which always computes every level and position encodings that IP-SAM does not use.
    """
    levels: list[Tensor] = []
    for index in reversed(range(NUM_LEVELS - num_levels, len(stages))):
        level = neck.convs[len(stages) - 1 - index](stages[index])
        if levels and index in neck.fpn_top_down_levels:
            level = level + F.interpolate(levels[-1].float(), scale_factor=2.0, mode="nearest")
        levels.append(level)
    return levels[:0:-1]
