"""Any feature extractor of timm behind the contract, with a neck and a prompt encoder of SAM2's kind."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ipsam.model.backbones.backbone import (
    NUM_LEVELS,
    PATCH,
    Backbone,
    Neck,
    check_image_size,
    feature_pyramid,
    normalisation,
)
from ipsam.model.backbones.efficientnet_lite import LITE, EfficientNetLite
from ipsam.model.backbones.prompt_encoder import PromptEncoder
from ipsam.utils.weights import key_difference, sha256_of

STRIDES = [4, 8, 16, 32]  # of the stages that the neck reads
DOWNLOAD = "timm"


class TimmBackbone(Backbone):
    """Trunk of timm's, trained as a whole, with a neck and a frozen prompt encoder of SAM2's kind.

    Checkpoints hold every weight. ``pretrained`` is only where training starts: a trained model does without it.

    Args:
        name: of a timm model with stages of stride 4, 8, 16 and 32, such as ``tf_efficientnet_lite0``.
        image_size: side of the square input in pixels, a multiple of 32.
        dim: embedding width c.
        pretrained: ``timm`` takes timm's own download; otherwise a safetensors file of the whole model's tensors by
            timm's names. None takes random weights.

    Attributes:
        channels: widths of the trunk's stages at strides 4, 8, 16 and 32.

    Raises:
        ValueError: an unknown name, a model without these stages, an invalid size, or a file that does not fit.
        FileNotFoundError: the file is missing.
    """

    trunk: Any
    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, *, image_size: int, dim: int = 128, pretrained: str | None = None) -> None:
        check_image_size(image_size)
        super().__init__(image_size, dim)
        self.is_fixed = False
        self.trunk = EfficientNetLite() if name == LITE and pretrained is None else self._of_timm(name, pretrained)
        info = self.trunk.feature_info
        stages = [index for index, stride in enumerate(info.reduction()) if stride in STRIDES]
        if [info.reduction()[index] for index in stages] != STRIDES:
            raise ValueError(f"name: {name} has stages of stride {info.reduction()}, but the neck reads {STRIDES}")
        self.stages = stages
        self.channels = [info.channels()[index] for index in stages]
        self.neck = Neck(dim, self.channels)
        self.prompt_encoder = PromptEncoder(dim, image_size // PATCH).requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # a third faster to train on a CPU
        config = self.trunk.pretrained_cfg
        scale, shift = normalisation(config["mean"], config["std"])
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def _of_timm(self, name: str, pretrained: str | None) -> Any:
        import timm  # imported late: it takes seconds

        if not timm.is_model(name):
            raise ValueError(f"name: timm {timm.__version__} has no model {name!r:.99}; timm.list_models() names all")
        # Without a stated size such models take only the one of their weights.
        self.is_fixed = bool(getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False))
        size: dict[str, Any] = {"img_size": self.image_size} if self.is_fixed else {}
        state = None
        if pretrained is not None and pretrained != DOWNLOAD:
            state = _read(Path(pretrained), timm.create_model(name).state_dict())
            self.pretrained_sha256 = sha256_of(Path(pretrained))
        with _without_head():
            trunk = timm.create_model(
                name,
                features_only=True,
                pretrained=pretrained is not None,
                pretrained_cfg_overlay=None if state is None else {"state_dict": state},
                **size,
            )
        trunk.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
        return trunk

    def forward(
        self, image: Float[Tensor, "b 3 H W"], *, num_levels: int = NUM_LEVELS
    ) -> list[Float[Tensor, "b c _ _"]]:
        """Encode an image (b, 3, H, W) to the pyramid."""
        return feature_pyramid(self.neck, self.encode(image), num_levels)

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Encode an image to the trunk's stages, after bringing it to the mean and deviation of timm's weights.

        Returns ``channels`` at strides 4, 8, 16 and 32.
        """
        stages = self.trunk(image * self.scale + self.shift)
        if str(getattr(self.trunk, "output_fmt", "NCHW")).endswith("NHWC"):  # of Swin, for one
            stages = [stage.permute(0, 3, 1, 2) for stage in stages]
        return [stages[index] for index in self.stages]

    def resize(self, image_size: int) -> None:
        """Change the size of the images that it takes, unless the trunk has one size; see ``Backbone.resize``."""
        if self.is_fixed and image_size != self.image_size:
            raise ValueError(f"this trunk takes images of {self.image_size} pixels alone, not {image_size}")
        super().resize(image_size)

    def freeze_finer_levels(self) -> None:
        """Freeze the neck's layers of the two finer levels."""
        for layer in self.neck.convs[2:]:
            layer.requires_grad_(False)


@contextmanager
def _without_head() -> Iterator[None]:
    """Silence timm's warning of weights that it leaves out: a feature extractor has no classifier."""
    logger = logging.getLogger("timm.models._builder")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Unexpected keys")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _read(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: fetch them with ipsam download timm=[{path.stem}], or set pretrained={DOWNLOAD} "
            "for timm's own download, or pretrained=None for random weights"
        )
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    if difference := key_difference(wanted, found):
        raise ValueError(f"{path} does not fit the timm model\n{difference}")
    return found
