"""SAM, SAM2, SAM3 and EdgeTAM of the transformers package behind the contract: their encoders and prompt encoders."""

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ipsam.model.backbones.backbone import NUM_LEVELS, Backbone, check_image_size, normalisation
from ipsam.model.backbones.families import FAMILIES, Family
from ipsam.model.backbones.positions import POSITIONS, resize_positions
from ipsam.model.backbones.prompt_encoder import cell_centres
from ipsam.model.lora import LoRA
from ipsam.utils.weights import key_difference, sha256_of

WEIGHTS = "model.safetensors"
ENCODER, PROMPTS = "vision_encoder.", "prompt_encoder."
PROMPT_POSITION = "prompt_encoder.shared_embedding.positional_embedding"
IMAGE_POSITION = "shared_image_embedding.positional_embedding"  # the same tensor by another name

logger = logging.getLogger(__name__)


class TransformersBackbone(Backbone):
    """Image encoder, neck and prompt encoder of a segmentation model of transformers.

    The image encoder is frozen except for LoRA, or trained as a whole (``fine_tune``). The prompt encoder is frozen.

    Args:
        family: ``sam2``, ``sam3``, ``edgetam`` or ``sam``: transformers' ``Sam2Model``, ``Sam3TrackerModel``,
            ``EdgeTamModel`` or ``SamModel``.
        variant: size of the model, such as ``large``; see ``FAMILIES``. ``micro`` is for tests.
        image_size: side of the square input in pixels: a multiple of 32 (SAM2, EdgeTAM), 16 (SAM), or 14 (SAM3, whose
            embedding grid is H/14). SAM's position embeddings are interpolated to other sizes than 1024.
        checkpoint: folder with ``model.safetensors`` as published on the Hugging Face Hub; None takes random weights.
        lora: low-rank adaptation of the attention projections; None for no LoRA. EdgeTAM's trunk has no attention. A
            stage of SAM's and SAM3's plain ViT ends with each of its four blocks of global attention.
        fine_tune: train every weight of the image encoder.

    Attributes:
        num_levels: 1 for SAM, which has no finer levels; else 3.

    Raises:
        ValueError: an unknown family or variant, an invalid size, LoRA together with ``fine_tune`` or without
            attention, or weights that do not fit.
        FileNotFoundError: the weights are missing.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        family: str,
        variant: str,
        *,
        image_size: int,
        checkpoint: str | Path | None = None,
        lora: LoRA | None = None,
        fine_tune: bool = False,
    ) -> None:
        if family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r:.99}")
        chosen = FAMILIES[family]
        if variant not in chosen.variants:
            raise ValueError(f"variant of {family} must be one of {', '.join(chosen.variants)}, not {variant!r:.99}")
        if lora is not None and fine_tune:
            raise ValueError("fine_tune trains every weight of the image encoder: set lora=None with it")
        if lora is not None and chosen.attention is None:
            raise ValueError(f"{family} has no attention to adapt: set lora=None, or fine_tune=True with it")
        if checkpoint is not None:
            _check_exists(Path(checkpoint), chosen.published.get(variant))  # before a model of gigabytes is built
        model = build_model(chosen, variant, image_size)
        encoder, prompt_encoder = model.vision_encoder, model.prompt_encoder
        super().__init__(image_size, prompt_encoder.hidden_size)
        self.family = chosen
        self.multiple = multiple_of(chosen, variant)
        self.num_levels = chosen.num_levels
        self.grid = int(prompt_encoder.image_embedding_size[0])
        self.image_encoder = encoder
        self.prompt_encoder = prompt_encoder
        scale, shift = normalisation(chosen.mean, chosen.std)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        if checkpoint is not None:
            self.base_sha256 = self._load(Path(checkpoint) / WEIGHTS, f"{family}, variant {variant}")
        self.requires_grad_(False)
        encoder.requires_grad_(fine_tune)
        for layer in chosen.unused(encoder):
            layer.requires_grad_(False)
        if lora is not None and chosen.attention is not None:
            lora.inject(*chosen.attention(encoder))

    def forward(
        self, image: Float[Tensor, "b 3 H W"], *, num_levels: int = NUM_LEVELS
    ) -> list[Float[Tensor, "b c _ _"]]:
        """Encode an image (b, 3, H, W) to the pyramid; of SAM to the image embedding alone."""
        return self.family.pyramid(self.image_encoder, image * self.scale + self.shift, num_levels)

    def train(self, mode: bool = True) -> "TransformersBackbone":
        """Set the mode of training, in which frozen batch normalisation keeps its statistics."""
        super().train(mode)
        for module in self.image_encoder.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def resize(self, image_size: int) -> None:
        """Change the size of the images that it takes, which SAM cannot; see ``Backbone.resize``."""
        check_image_size(image_size, self.multiple)
        if self.family.resize is None and image_size != self.image_size:
            raise ValueError(f"SAM takes images of {self.image_size} pixels alone once it is built, not {image_size}")
        if self.family.resize is not None:
            self.family.resize(self.image_encoder, image_size)
        self.grid = self.grid * image_size // self.image_size
        self.image_size = image_size
        self.renew_constants()

    def freeze_finer_levels(self) -> None:
        """Freeze the neck's layers of the two finer levels."""
        for layer in self.family.finer(self.image_encoder):
            layer.requires_grad_(False)

    def encoder_blocks(self) -> list[nn.Module]:
        """Return the trunk's transformer blocks; EdgeTAM has none."""
        return self.family.blocks(self.image_encoder)

    def position(self) -> Float[Tensor, "1 c h w"]:
        """Return the position encoding of the embedding grid."""
        if self.kept_position is not None:
            return self.kept_position
        embedding = self.prompt_encoder.shared_embedding
        points = cell_centres(self.grid, embedding.positional_embedding.device)
        encoding: Tensor = embedding(points).permute(2, 0, 1)
        return encoding[None]

    def encode_dense(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b c h w"]:
        """Embed raw logits as dense prompt: no sigmoid, no binarising (paper section 3.2)."""
        embedding: Tensor = self.prompt_encoder.mask_embed(logits)
        return embedding

    def point_type(self, label: int) -> Float[Tensor, "1 c"]:
        """Return the point-type embedding of label 1 (positive) or 0 (negative)."""
        types = self.prompt_encoder.point_embed  # one embedding of four rows, or of SAM a list of four
        weight: Tensor = types.weight[label : label + 1] if hasattr(types, "weight") else types[label].weight
        return weight

    def null_prompts(self, batch: int) -> tuple[Float[Tensor, "b 0 c"], Float[Tensor, "b c h w"]]:
        """Return empty sparse tokens and the embedding of a zero mask: the baselines' null prompts (section 4.1)."""
        like = self.point_type(0)
        zeros = torch.zeros(batch, 1, 4 * self.grid, 4 * self.grid, device=like.device)
        return like.new_zeros(batch, 0, self.dim), self.encode_dense(zeros)

    def _load(self, path: Path, name: str) -> str:
        try:
            stored = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
        found = {self._renamed(key): tensor for key, tensor in stored.items()}
        if IMAGE_POSITION in found:
            found.setdefault(PROMPT_POSITION, found[IMAGE_POSITION])
        found = {key: tensor for key, tensor in found.items() if key.startswith((ENCODER, PROMPTS))}
        parts = {ENCODER: self.image_encoder, PROMPTS: self.prompt_encoder}
        wanted = {f"{prefix}{key}": one for prefix, part in parts.items() for key, one in part.state_dict().items()}
        if POSITIONS in wanted and (before := resize_positions(found, wanted)) is not None:
            logger.info("%s: position embeddings interpolated from %d to %d px", path, before, self.image_size)
        if difference := key_difference(wanted, found):
            raise ValueError(f"{path} does not fit {name}, at image_size={self.image_size}\n{difference}")
        for prefix, part in parts.items():
            part.load_state_dict({key.removeprefix(prefix): found[key] for key in wanted if key.startswith(prefix)})
        return sha256_of(path)

    def _renamed(self, key: str) -> str:
        for prefix, ours in self.family.renames.items():
            if key.startswith(prefix):
                key = ours + key.removeprefix(prefix)
        return key


def multiple_of(family: Family, variant: str) -> int:
    """Return the number of pixels that an input's side is a multiple of."""
    trunk = family.variants[variant].get("backbone_config", {})
    return int(trunk.get("patch_size", family.multiple))


def build_model(family: Family, variant: str, image_size: int) -> Any:
    """Build a whole model of transformers with random weights; ValueError for an invalid size."""
    import transformers  # imported late: it takes seconds

    vision = dict(family.variants[variant])
    trunk = {**vision.get("backbone_config", {})}
    patch = int(trunk.get("patch_size", family.patch))
    check_image_size(image_size, multiple_of(family, variant))
    if family.model == "Sam3Tracker":
        vision["backbone_config"] = {"model_type": "sam3_vit_model", **trunk, "image_size": image_size}
    if family.model == "Sam":
        vision["image_size"] = image_size
    dim = vision.get("fpn_hidden_size", vision.get("output_channels", 256))
    config = getattr(transformers, f"{family.model}Config")(
        vision_config={"model_type": f"{family.vision}_vision_model", **vision},
        prompt_encoder_config={"hidden_size": dim, "image_size": image_size, "patch_size": patch},
        mask_decoder_config={"hidden_size": dim},
    )
    return getattr(transformers, f"{family.model}Model")(config)


def _check_exists(folder: Path, published: str | None) -> None:
    path = folder / WEIGHTS
    if not path.is_file():
        source = f"download them with: hf download {published} {WEIGHTS} --local-dir {folder}\n" if published else ""
        raise FileNotFoundError(
            f"no weights at {path}\n{source}name another folder with checkpoint=..., or take random weights with "
            "checkpoint=None"
        )
