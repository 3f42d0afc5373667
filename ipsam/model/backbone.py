"""SAM2's image encoder and prompt encoder, built from sam2's own YAML."""

from pathlib import Path
from types import MethodType
from typing import Any

import sam2
import torch
import torch.nn.functional as F
from hydra.core.global_hydra import GlobalHydra
from jaxtyping import Float
from omegaconf import OmegaConf
from sam2.build_sam import instantiate  # sam2's own builder: its YAML is in Hydra's form
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from torch import Tensor, nn

from ipsam.model.lora import LoRA
from ipsam.model.sam2_checkpoints import load_sam2_checkpoint

# Importing sam2 initialises Hydra for sam2's own configuration, unless Hydra is in use already. Undo that, or else no
# program could use Hydra after importing this package.
# It stays here, not with the engine's use of Hydra: a program may import ipsam.model alone into a Hydra application.
_hydra = GlobalHydra.instance()
if _hydra.is_initialized() and "path=pkg://sam2," in str(_hydra.config_loader().get_search_path()):
    _hydra.clear()

SAM2_YAML = {
    "large": "sam2.1_hiera_l.yaml",
    "base_plus": "sam2.1_hiera_b+.yaml",
    "small": "sam2.1_hiera_s.yaml",
    "tiny": "sam2.1_hiera_t.yaml",
    "micro": "sam2.1_hiera_t.yaml",
}

# The same classes with few narrow blocks, for tests and for training from scratch on a CPU. The windows of the last
# two stages fit the grids of a 128 px image; SAM2's windows of 14 and 7 would be mostly padding.
MICRO = {
    "trunk": {"embed_dim": 16, "stages": [1, 1, 2, 1], "window_spec": [8, 4, 8, 4], "global_att_blocks": [3]},
    "neck": {
        "d_model": 64,
        "backbone_channel_list": [128, 64, 32, 16],
        "position_encoding": {"num_pos_feats": 64},
    },
}

MULTIPLE = 32  # Hiera's windowed position embedding and the neck's x2 upsampling need whole grids at 1/32
NUM_LEVELS = 3  # levels of the feature pyramid
PATCH = 16  # pixels a side of one cell of the embedding grid


class SAM2Backbone(nn.Module):
    """SAM2's image encoder and prompt encoder.

    The image encoder is frozen except for LoRA, or trained as a whole (``fine_tune``). The prompt encoder is frozen;
    ``train_prompt_encoder`` is the ablation of that choice.

    Args:
        variant: ``large``, ``base_plus``, ``tiny`` (the paper's SAM2-L, -B, -T), ``small`` or ``micro``.
        image_size: side of the square input in pixels, a multiple of 32.
        checkpoint: file in SAM2's format; None takes random weights.
        lora: low-rank adaptation of the trunk; None for no LoRA.
        fine_tune: train every weight of the image encoder.
        train_prompt_encoder: train the parts of the prompt encoder that IP-SAM uses, its mask branch and point types 0
            and 1 (Table 3, part I).
        no_mem_embed: add SAM2's frozen embedding "no memory" to the image embedding, as SAM2's own image predictor
            does. The paper takes the neck's feature map as it is (section 3.2) and is silent about the embedding.

    Attributes:
        dim: embedding width c.
        train_prompt_encoder: as given.
        checkpoint: as given.
        base_sha256: SHA-256 of the checkpoint; None for random weights.

    Raises:
        ValueError: an unknown variant, an invalid size, LoRA together with ``fine_tune``, or a checkpoint that does not
            fit.
        FileNotFoundError: the checkpoint is missing.
    """

    def __init__(
        self,
        variant: str = "large",
        *,
        image_size: int = 1024,
        checkpoint: str | Path | None = None,
        lora: LoRA | None = None,
        fine_tune: bool = False,
        train_prompt_encoder: bool = False,
        no_mem_embed: bool = False,
    ) -> None:
        super().__init__()
        config = sam2_config(variant, image_size)
        if lora is not None and fine_tune:
            raise ValueError("fine_tune trains every weight of the image encoder: set lora=None with it")
        self.image_size = image_size
        self.train_prompt_encoder = train_prompt_encoder
        self.image_encoder = instantiate(config.image_encoder)
        self.dim = int(self.image_encoder.neck.d_model)
        self.prompt_encoder = PromptEncoder(
            embed_dim=self.dim,
            image_embedding_size=(image_size // PATCH, image_size // PATCH),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        )
        self.no_mem_embed: nn.Parameter | None = None
        if no_mem_embed:
            self.no_mem_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, self.dim), std=0.02))  # as sam2's
        self.kept_position: Tensor | None
        self.register_buffer("kept_position", None, persistent=False)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.base_sha256: str | None = None
        if self.checkpoint is not None:
            parts = {"image_encoder": self.image_encoder, "sam_prompt_encoder": self.prompt_encoder}
            extra = {} if self.no_mem_embed is None else {"no_mem_embed": self.no_mem_embed}
            self.base_sha256 = load_sam2_checkpoint(self.checkpoint, parts | extra)
        self.requires_grad_(False)
        self.image_encoder.requires_grad_(fine_tune)
        for used in (self.prompt_encoder.mask_downscaling, *self.prompt_encoder.point_embeddings[:2]):
            used.requires_grad_(train_prompt_encoder)
        if lora is not None:
            lora.inject(self.image_encoder.trunk)

    def forward(
        self, image: Float[Tensor, "b 3 H W"], *, num_levels: int = NUM_LEVELS
    ) -> list[Float[Tensor, "b c _ _"]]:
        """Encode an image (b, 3, H, W), normalised by ImageNet's mean and standard deviation, to a feature pyramid.

        Returns the coarsest ``num_levels`` of three levels, finest first: (b, c, H/4, W/4), (b, c, H/8, W/8) and the
        image embedding (b, c, h, w). They equal those of sam2's ``ImageEncoder``, which always computes every level
        and position encodings that IP-SAM does not use; ``no_mem_embed`` is added to the image embedding.
        """
        stages = self.image_encoder.trunk(image)  # (b, _, H/4, W/4) to (b, _, H/32, W/32)
        neck = self.image_encoder.neck
        levels: list[Tensor] = []
        for index in reversed(range(NUM_LEVELS - num_levels, len(stages))):
            level = neck.convs[len(stages) - 1 - index](stages[index])
            if levels and index in neck.fpn_top_down_levels:
                level = level + F.interpolate(levels[-1].float(), scale_factor=2.0, mode=neck.fpn_interp_model)
            levels.append(level)
        *finer, embedding = levels[:0:-1]  # drops H/32, as sam2 does (``scalp``)
        return [*finer, embedding if self.no_mem_embed is None else embedding + self.no_mem_embed.view(1, -1, 1, 1)]

    def position(self) -> Float[Tensor, "1 c h w"]:
        """Return the position encoding of the embedding grid."""
        if self.kept_position is not None:
            return self.kept_position
        encoding: Tensor = self.prompt_encoder.get_dense_pe()
        return encoding

    @torch.no_grad()
    def keep_constants(self) -> None:
        """Compute the position encodings once, for inference at ``image_size``."""
        trunk, side = self.image_encoder.trunk, self.image_size // 4
        self.kept_position = self.position()
        trunk.register_buffer("kept_position", trunk._get_pos_embed((side, side)), persistent=False)
        trunk._get_pos_embed = MethodType(lambda trunk, _: trunk.kept_position, trunk)

    def freeze_finer_levels(self) -> None:
        """Freeze the neck's layers of the two finer levels, for a model that reads only the image embedding.

        They would get no gradient, which training on several processes takes for an error.
        """
        for layer in self.image_encoder.neck.convs[2:]:  # from H/32 to H/4
            layer.requires_grad_(False)

    def encoder_blocks(self) -> nn.ModuleList:
        """Return the trunk's blocks."""
        blocks: nn.ModuleList = self.image_encoder.trunk.blocks
        return blocks

    def encode_dense(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b c h w"]:
        """Embed raw logits as dense prompt: no sigmoid, no binarising (paper section 3.2)."""
        embedding: Tensor = self.prompt_encoder(points=None, boxes=None, masks=logits)[1]
        return embedding

    def point_type(self, label: int) -> Float[Tensor, "1 c"]:
        """Return the point-type embedding of label 1 (positive) or 0 (negative)."""
        weight: Tensor = self.prompt_encoder.point_embeddings[label].weight
        return weight

    def null_prompts(self, batch: int) -> tuple[Float[Tensor, "b 0 c"], Float[Tensor, "b c h w"]]:
        """Return empty sparse tokens and the embedding of a zero mask: the baselines' null prompts (section 4.1)."""
        size = self.prompt_encoder.mask_input_size
        zeros = torch.zeros(batch, 1, *size, device=self.point_type(0).device)
        sparse, dense = self.prompt_encoder(points=None, boxes=None, masks=zeros)
        return sparse, dense


def sam2_config(variant: str, image_size: int) -> Any:
    """Read the ``model`` section of sam2's YAML, narrowed for the micro variant.

    Raises:
        ValueError: an unknown variant or an invalid size.
    """
    if variant not in SAM2_YAML:
        raise ValueError(f"variant must be one of {', '.join(SAM2_YAML)}, not {variant!r}")
    if image_size < MULTIPLE or image_size % MULTIPLE:
        raise ValueError(f"image_size must be a positive multiple of {MULTIPLE} pixels, not {image_size}")
    config = OmegaConf.load(Path(sam2.__path__[0]) / "configs" / "sam2.1" / SAM2_YAML[variant]).model
    narrowed = {"image_encoder": MICRO} if variant == "micro" else {}
    return OmegaConf.merge(config, narrowed, {"image_size": image_size})
