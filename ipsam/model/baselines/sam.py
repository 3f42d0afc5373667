"""SAM, by transformers' ``SamModel``."""

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ipsam.model.backbones.families import FAMILIES
from ipsam.model.backbones.positions import resize_positions
from ipsam.model.baselines.promptable import Features, Promptable, Prompts
from ipsam.model.baselines.vit_adapter import AdaptedViT, ViTAdapter
from ipsam.utils.imagenet import MEAN, STD
from ipsam.utils.weights import key_difference, sha256_of

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
# MedSAM's weights on the Hugging Face Hub. The revision is the one that added the safetensors file.
MEDSAM = "wanglab/medsam-vit-base --revision a0a0e4bf38278213a0df876d2378f5736731a15e"

# Differences of each vision encoder from the defaults of transformers' configuration.
VISION: dict[str, dict[str, Any]] = {
    **FAMILIES["sam"].variants,
    "micro": {**FAMILIES["sam"].variants["micro"], "output_channels": 32, "num_pos_feats": 16},
}
DECODER: dict[str, dict[str, Any]] = {
    "micro": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
}


class SAM(Promptable):
    """SAM, frozen except for the parts that the arguments train.

    Args:
        variant: ``huge``, ``large``, ``base`` (ViT-H, -L, -B) or ``micro``.
        image_size: side of the square input in pixels, a multiple of 16. Pretrained position embeddings, published
            for 1024, are interpolated to other sizes.
        checkpoint: folder with ``model.safetensors`` as published on the Hugging Face Hub; None takes random weights.
        train_encoder: train the image encoder.
        train_decoder: train the mask decoder. A loss on the single mask does not reach the IoU head and the
            other masks' hypernetworks.
        adapter: SAM-Adapter's adaptation of the image encoder; None for none.
        min_max: scale each image to [0, 1] by its own minimum and maximum, as MedSAM does, instead of normalising it
            by ImageNet's mean and standard deviation.

    Attributes:
        model: transformers' ``SamModel``.

    Raises:
        ValueError: an unknown variant, an invalid size, an adapter together with ``train_encoder``, or weights that do
            not fit.
        FileNotFoundError: the weights are missing.
    """

    def __init__(
        self,
        variant: str = "huge",
        *,
        image_size: int = 1024,
        checkpoint: str | Path | None = None,
        train_encoder: bool = False,
        train_decoder: bool = False,
        adapter: ViTAdapter | None = None,
        min_max: bool = False,
    ) -> None:
        from transformers import SamConfig, SamModel  # imported late: it takes seconds

        super().__init__()
        if variant not in VISION:
            raise ValueError(f"variant must be one of {', '.join(VISION)}, not {variant!r}")
        if image_size < 16 or image_size % 16:
            raise ValueError(f"image_size must be a positive multiple of 16 pixels, not {image_size}")
        if adapter is not None and train_encoder:
            raise ValueError("an adapter needs a frozen image encoder: set train_encoder=False or adapter=None")
        if checkpoint is not None:
            _check_exists(Path(checkpoint), variant)  # before a model of gigabytes is built
        self.image_size = image_size
        self.min_max = min_max
        decoder = DECODER.get(variant, {})
        width = {"hidden_size": decoder["hidden_size"]} if decoder else {}
        config = SamConfig(
            vision_config={**VISION[variant], "image_size": image_size},
            prompt_encoder_config={**width, "image_size": image_size},
            mask_decoder_config=decoder,
        )
        self.model: Any = SamModel(config)
        if checkpoint is not None:
            self._load(Path(checkpoint), variant)
        # One frozen tensor with two names; safetensors refuses shared tensors.
        self.model.prompt_encoder.shared_embedding = deepcopy(self.model.prompt_encoder.shared_embedding)
        self.requires_grad_(False)
        encoder: Any = self.model.vision_encoder
        encoder.requires_grad_(train_encoder)
        self.model.mask_decoder.requires_grad_(train_decoder)
        if adapter is not None:
            self.model.vision_encoder = adapter.around(encoder)

    def encoder_blocks(self) -> nn.ModuleList:
        """Return the image encoder's layers, adapted or not."""
        encoder = self.model.vision_encoder
        layers: nn.ModuleList = (encoder.encoder if isinstance(encoder, AdaptedViT) else encoder).layers
        return layers

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> Features:
        """Encode images to (b, c, H/16, W/16); there are no finer features."""
        return Features(self.model.vision_encoder(min_max_scaled(image) if self.min_max else image)[0])

    def decode(
        self, features: Features, prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Predict mask logits (b, m, H/4, W/4) and IoU (b, m); m is 3 with ``multimask``, else 1."""
        embedding, grid = features.embedding, self.image_size // 4
        output = self.model(
            image_embeddings=embedding,
            input_points=None if prompts.points is None else prompts.points[:, None],  # (b, objects, n, 2)
            input_boxes=None if prompts.boxes is None else prompts.boxes[:, None],  # (b, objects, 4)
            input_masks=embedding.new_zeros(len(embedding), 1, grid, grid) if prompts.zero_mask else None,
            multimask_output=multimask,
        )
        return output.pred_masks[:, 0], output.iou_scores[:, 0]

    def _load(self, folder: Path, variant: str) -> None:
        path = folder / WEIGHTS
        try:
            found = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
        # One tensor with two names; a file may hold either or both.
        shared = ("prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding")
        for name, other in (shared, shared[::-1]):
            if other in found:
                found.setdefault(name, found[other])
        wanted: dict[str, Tensor] = self.model.state_dict()
        if (before := resize_positions(found, wanted)) is not None:
            logger.info("%s: position embeddings interpolated from %d to %d px", path, before, self.image_size)
        if difference := key_difference(wanted, found):
            raise ValueError(
                f"{path} does not fit SAM with variant={variant} and image_size={self.image_size}\n{difference}"
            )
        self.model.load_state_dict(found)
        self.base_sha256 = sha256_of(path)


def min_max_scaled(image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Scale normalised images (b, 3, H, W) to [0, 1], each by the minimum and maximum of all its pixels."""
    channels = zip(image.unbind(1), MEAN, STD, strict=True)
    values = torch.stack([channel * std + mean for channel, mean, std in channels], dim=1)
    least, most = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return (values - least) / (most - least).clamp(min=1e-8)


def _check_exists(folder: Path, variant: str) -> None:
    path = folder / WEIGHTS
    if not path.is_file():
        published = MEDSAM if folder.name == "medsam-vit-base" else f"facebook/sam-vit-{variant}"
        source = f"download them with: hf download {published} {WEIGHTS} --local-dir {folder}\n"
        raise FileNotFoundError(
            f"no SAM weights at {path}\n{'' if variant == 'micro' else source}"
            "name another folder with checkpoint=..., or take random weights with checkpoint=None"
        )
