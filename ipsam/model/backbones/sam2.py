"""SAM2's image encoder and prompt encoder, built from sam2's own YAML."""

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate  # as sam2 itself builds: its YAML is in Hydra's form
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor, nn

from ipsam.model.backbones.backbone import (
    NUM_LEVELS,
    PATCH,
    Backbone,
    check_image_size,
    feature_pyramid,
)
from ipsam.model.lora import LoRA
from ipsam.model.sam2_checkpoints import load_sam2_checkpoint

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


class SAM2Backbone(Backbone):
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

    Raises:
        ValueError: an unknown variant, an invalid size, LoRA together with ``fine_tune``, or a checkpoint that does not
            fit.
        FileNotFoundError: the checkpoint is missing.
        ImportError: sam2 is not installed.
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
        config = sam2_config(variant, image_size)
        if lora is not None and fine_tune:
            raise ValueError("fine_tune trains every weight of the image encoder: set lora=None with it")
        from sam2.modeling.sam.prompt_encoder import PromptEncoder

        super().__init__(image_size, int(config.image_encoder.neck.d_model))
        self.train_prompt_encoder = train_prompt_encoder
        self.image_encoder = instantiate(config.image_encoder)
        self.prompt_encoder = PromptEncoder(
            embed_dim=self.dim,
            image_embedding_size=(image_size // PATCH, image_size // PATCH),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        )
        self.no_mem_embed: nn.Parameter | None = None
        if no_mem_embed:
            self.no_mem_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, self.dim), std=0.02))  # as sam2's
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
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
        """Encode an image as sam2's ``ImageEncoder`` does; ``no_mem_embed`` is added to the image embedding."""
        stages = self.image_encoder.trunk(image)
        *finer, embedding = feature_pyramid(self.image_encoder.neck, stages, num_levels)
        return [*finer, embedding if self.no_mem_embed is None else embedding + self.no_mem_embed.view(1, -1, 1, 1)]

    @torch.no_grad()
    def keep_constants(self) -> None:
        """Compute the position encodings once, the trunk's as well, for inference at ``image_size``."""
        super().keep_constants()
        trunk, side = self.image_encoder.trunk, self.image_size // 4
        encoding = type(trunk)._get_pos_embed(trunk, (side, side))  # also if constants of another size are kept
        trunk.register_buffer("kept_position", encoding, persistent=False)
        trunk._get_pos_embed = MethodType(lambda trunk, _: trunk.kept_position, trunk)

    def freeze_finer_levels(self) -> None:
        """Freeze the neck's layers of the two finer levels."""
        for layer in self.image_encoder.neck.convs[2:]:  # from H/32 to H/4
            layer.requires_grad_(False)

    def encoder_blocks(self) -> nn.ModuleList:
        """Return the trunk's blocks."""
        blocks: nn.ModuleList = self.image_encoder.trunk.blocks
        return blocks


def import_sam2() -> Any:
    """Import sam2 and return it. It is imported late: other backbones do without it.

    The import initialises Hydra for sam2's own configuration, unless Hydra is in use already. That is undone, or else
    no program could use Hydra afterwards.

    Raises:
        ImportError: sam2 is not installed; the message says how to install it, and what to use instead.
    """
    try:
        import sam2
    except ImportError as error:
        raise ImportError(
            "SAM2's own models need sam2: pip install sam2; or take SAM2 from transformers: "
            "backbone._target_=ipsam.model.TransformersBackbone"
        ) from error
    hydra = GlobalHydra.instance()
    if hydra.is_initialized() and "path=pkg://sam2," in str(hydra.config_loader().get_search_path()):
        hydra.clear()
    return sam2


def sam2_config(variant: str, image_size: int) -> Any:
    """Read the ``model`` section of sam2's YAML, narrowed for the micro variant.

    Raises:
        ValueError: an unknown variant or an invalid size.
    """
    if variant not in SAM2_YAML:
        raise ValueError(f"variant must be one of {', '.join(SAM2_YAML)}, not {variant!r}")
    check_image_size(image_size)
    sam2 = import_sam2()
    config = OmegaConf.load(Path(sam2.__path__[0]) / "configs" / "sam2.1" / SAM2_YAML[variant]).model
    narrowed = {"image_encoder": MICRO} if variant == "micro" else {}
    return OmegaConf.merge(config, narrowed, {"image_size": image_size})
