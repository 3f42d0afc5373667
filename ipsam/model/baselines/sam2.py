"""SAM2 as a model for single images: image encoder, prompt encoder and mask decoder, without the video memory."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor, nn

from ipsam.model.backbones.sam2 import sam2_config
from ipsam.model.baselines.hiera_adapter import AdaptedHiera, HieraAdapter
from ipsam.model.baselines.promptable import Features, Promptable, Prompts
from ipsam.model.lora import LoRA
from ipsam.model.sam2_checkpoints import load_sam2_checkpoint

POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 1, 2, 3  # SAM2's labels of point prompts and box corners

# SAM2Base without the parts for videos.
IMAGES_ONLY = {
    "memory_attention": None,
    "memory_encoder": None,
    "num_maskmem": 1,
    "use_obj_ptrs_in_encoder": False,
    "proj_tpos_enc_in_obj_ptrs": False,
    "fixed_no_obj_ptr": False,
    "no_obj_embed_spatial": False,
}
# As in sam2's build_sam2: an unstable single mask is replaced by the best of the three others.
STABLE_MASK = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}


class SAM2(Promptable):
    """SAM2, frozen except for the parts that the arguments train.

    Args:
        variant: ``large``, ``base_plus``, ``small``, ``tiny`` or ``micro``.
        image_size: side of the square input in pixels, a multiple of 32.
        checkpoint: file in SAM2's format; None takes random weights.
        lora: low-rank adaptation of the trunk; None for no LoRA.
        adapter: SAM2-Adapter's adaptation of the trunk instead; None for none.
        train_decoder: train the mask decoder. A loss on the single mask does not reach the heads for IoU and object
            score and the other masks' hypernetworks, so unstable masks are then kept.
        two_mask_decoder: narrow a trained decoder to that of SAM2-Adapter's released code, see ``narrow``.

    Attributes:
        model: sam2's ``SAM2Base``, which ``SAM2ImagePredictor`` accepts.

    Raises:
        ValueError: an unknown variant, an invalid size, LoRA together with an adapter, ``two_mask_decoder`` without
            ``train_decoder``, or a checkpoint that does not fit.
        FileNotFoundError: the checkpoint is missing.
    """

    def __init__(
        self,
        variant: str = "large",
        *,
        image_size: int = 1024,
        checkpoint: str | Path | None = None,
        lora: LoRA | None = None,
        adapter: HieraAdapter | None = None,
        train_decoder: bool = False,
        two_mask_decoder: bool = False,
    ) -> None:
        super().__init__()
        if lora is not None and adapter is not None:
            raise ValueError("the trunk is adapted by LoRA or by an adapter, not both: set lora=None or adapter=None")
        if two_mask_decoder and not train_decoder:
            raise ValueError("two_mask_decoder has a head without pretrained weights: set train_decoder=True with it")
        extra = {"sam_mask_decoder_extra_args": None if train_decoder else STABLE_MASK}
        self.image_size = image_size
        self.model: Any = instantiate(OmegaConf.merge(sam2_config(variant, image_size), IMAGES_ONLY, extra))
        if checkpoint is not None:
            names = ("image_encoder", "sam_prompt_encoder", "sam_mask_decoder", "no_mem_embed")
            self.base_sha256 = load_sam2_checkpoint(
                Path(checkpoint), {name: getattr(self.model, name) for name in names}
            )
        self.requires_grad_(False)
        self.model.sam_mask_decoder.requires_grad_(train_decoder)
        encoder = self.model.image_encoder
        if lora is not None:
            lora.inject(encoder.trunk)
        if adapter is not None:
            encoder.trunk = adapter.around(encoder.trunk)
        if two_mask_decoder:
            narrow(self.model.sam_mask_decoder)

    def encoder_blocks(self) -> nn.ModuleList:
        """Return the trunk's blocks, adapted or not."""
        trunk = self.model.image_encoder.trunk
        blocks: nn.ModuleList = (trunk.trunk if isinstance(trunk, AdaptedHiera) else trunk).blocks
        return blocks

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> Features:
        """Encode images to (b, c, h, w), with two finer levels that are narrowed for the decoder."""
        *high_res, embedding = self.model.forward_image(image)["backbone_fpn"]
        return Features(embedding + self.model.no_mem_embed.view(1, -1, 1, 1), high_res)  # as SAM2ImagePredictor does

    def decode(
        self, features: Features, prompts: Prompts, *, multimask: bool = False
    ) -> tuple[Float[Tensor, "b m hm wm"], Float[Tensor, "b m"]]:
        """Predict mask logits (b, m, H/4, W/4) and IoU (b, m); m is 3 with ``multimask``, else 1."""
        embedding, encoder = features.embedding, self.model.sam_prompt_encoder
        b = embedding.shape[0]
        masks = embedding.new_zeros(b, 1, *encoder.mask_input_size) if prompts.zero_mask else None
        sparse, dense = encoder(points=_corners_and_points(prompts), boxes=None, masks=masks)
        logits, iou, _, _ = self.model.sam_mask_decoder(
            image_embeddings=embedding,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse.expand(b, -1, -1),
            dense_prompt_embeddings=dense.expand(b, -1, -1, -1),
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=features.high_res,
        )
        return logits, iou


def narrow(decoder: Any) -> None:
    """Narrow sam2's ``MaskDecoder`` to the one in SAM2-Adapter's released code.

    It keeps the first two mask tokens, for the single mask and one alternative, and scores objects by one linear layer
    with new weights. The mask of the first token alone is used, as everywhere here; their code uses the second's.
    """
    kept = 2
    decoder.num_mask_tokens, decoder.num_multimask_outputs = kept, kept - 1
    decoder.output_hypernetworks_mlps = decoder.output_hypernetworks_mlps[:kept]
    tokens, last = decoder.mask_tokens, decoder.iou_prediction_head.layers[-1]
    tokens.num_embeddings = last.out_features = kept
    for layer, name in ((tokens, "weight"), (last, "weight"), (last, "bias")):
        setattr(layer, name, nn.Parameter(getattr(layer, name)[:kept].detach().clone()))
    decoder.pred_obj_score_head = nn.Linear(decoder.transformer_dim, 1)


def _corners_and_points(prompts: Prompts) -> tuple[Tensor, Tensor] | None:
    """Join prompts to points (b, n, 2) with labels (b, n), a box's two corners first; None without any."""
    parts = []
    if prompts.boxes is not None:
        parts.append((prompts.boxes.reshape(-1, 2, 2), [TOP_LEFT, BOTTOM_RIGHT]))
    if prompts.points is not None:
        parts.append((prompts.points, [POSITIVE] * prompts.points.shape[1]))
    if not parts:
        return None
    points = torch.cat([part for part, _ in parts], dim=1)
    labels = torch.tensor([label for _, some in parts for label in some], dtype=torch.int)
    return points, labels.to(points.device, non_blocking=True).expand(points.shape[0], -1)
