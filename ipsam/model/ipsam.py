"""IP-SAM: SAM2 conditioned through its own prompt space (paper section 3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.backbone import SAM2Backbone
from ipsam.model.decoder import MaskDecoder
from ipsam.model.gating import PromptSpaceGating
from ipsam.model.lateral import LateralInhibition
from ipsam.model.refine import RefinementHead
from ipsam.model.self_prompt import SelfPromptGenerator

MASK_REDUCTIONS = ("mean", "first")


@dataclass
class IPSAMOutput:
    """Everything a forward pass makes, as logits on the mask grid (hm, wm) = (H/4, W/4) unless said otherwise.

    Attributes:
        mask_logits: the decoder's masks, (b, m, hm, wm).
        coarse: the decoder's masks reduced to one, (b, 1, hm, wm).
        refined: coarse plus the refinement head's residual; None where that head is off.
        fg_logits, bg_logits: SPG's dense prompts P+ and P-; None where SPG is off.
        gate: PSG's suppressive gate in (0, 1), (b, 1, h, w); None where PSG is off.
        auxiliary: lateral inhibition's logits of each pyramid level, in training only; else empty.
    """

    mask_logits: Float[Tensor, "b m hm wm"]
    coarse: Float[Tensor, "b 1 hm wm"]
    refined: Float[Tensor, "b 1 hm wm"] | None
    fg_logits: Float[Tensor, "b 1 hm wm"] | None
    bg_logits: Float[Tensor, "b 1 hm wm"] | None
    gate: Float[Tensor, "b 1 h w"] | None
    auxiliary: list[Float[Tensor, "b 1 _ _"]]

    @property
    def logits(self) -> Float[Tensor, "b 1 hm wm"]:
        """The prediction: refined where there is a refinement head, else coarse."""
        return self.coarse if self.refined is None else self.refined


class IPSAM(nn.Module):
    """The full model; each part but backbone and decoder can be left out (the rows of Table 2).

    Args:
        backbone: SAM2's image encoder and frozen prompt encoder.
        decoder: the task-specific mask decoder.
        self_prompt: SPG; None conditions the decoder on null prompts.
        gating: PSG; None hands the foreground prompt on as it is. Needs ``self_prompt``.
        lateral: lateral inhibition; None leaves the feature pyramid alone.
        refine: refinement head; None makes the coarse mask the prediction.
        mask_reduction: ``mean`` of the decoder's masks, or the ``first`` (SAM's single-mask token).

    Raises:
        ValueError: for parts that don't fit together.
    """

    def __init__(
        self,
        backbone: SAM2Backbone,
        *,
        decoder: MaskDecoder,
        self_prompt: SelfPromptGenerator | None = None,
        gating: PromptSpaceGating | None = None,
        lateral: LateralInhibition | None = None,
        refine: RefinementHead | None = None,
        mask_reduction: str = "mean",
    ) -> None:
        super().__init__()
        if mask_reduction not in MASK_REDUCTIONS:
            raise ValueError(f"mask_reduction must be one of {', '.join(MASK_REDUCTIONS)}, not {mask_reduction!r}")
        if gating is not None and self_prompt is None:
            raise ValueError("gating works on the self-prompts: set model.gating=null where model.self_prompt=null")
        if self_prompt is None and decoder.mask_tokens is None:
            raise ValueError("without self_prompt the decoder needs model.decoder.own_mask_tokens=true")
        if decoder.dim != backbone.dim:
            raise ValueError(f"decoder.dim is {decoder.dim}, but the backbone's embedding width is {backbone.dim}")
        if self_prompt is not None and self_prompt.num_mask_tokens != decoder.num_mask_tokens:
            raise ValueError(
                f"self_prompt.num_mask_tokens is {self_prompt.num_mask_tokens}, but the decoder draws "
                f"{decoder.num_mask_tokens} masks: they must agree"
            )
        self.backbone = backbone
        self.self_prompt = self_prompt
        self.gating = gating
        self.decoder = decoder
        self.lateral = lateral
        self.refine = refine
        self.mask_reduction = mask_reduction

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Logits of an image (b, 3, H, W), normalised by ImageNet's mean and standard deviation; H = W = image_size."""
        fpn = self.backbone(image)
        features = fpn[-1]  # (b, c, h, w)
        position = self.backbone.position()  # (1, c, h, w)

        fg_logits = bg_logits = gate = mask_tokens = None
        if self.self_prompt is None:
            sparse, dense = self.backbone.null_prompts(image.shape[0])
        else:
            prompts = self.self_prompt(features, position)
            fg_logits, bg_logits, mask_tokens = prompts.fg_logits, prompts.bg_logits, prompts.mask_tokens
            fg_tokens = prompts.fg_tokens + self.backbone.point_type(1)
            bg_tokens = prompts.bg_tokens + self.backbone.point_type(0)
            sparse = torch.cat([fg_tokens, bg_tokens], dim=1)  # (b, 2n, c)
            dense = self.backbone.encode_dense(fg_logits)  # (b, c, h, w)
            if self.gating is not None:
                dense, gate = self.gating(dense, self.backbone.encode_dense(bg_logits))

        mask_logits = self.decoder(features, position=position, dense=dense, sparse=sparse, mask_tokens=mask_tokens)
        coarse = mask_logits.mean(1, keepdim=True) if self.mask_reduction == "mean" else mask_logits[:, :1]

        auxiliary: list[Tensor] = []
        if self.lateral is not None and (self.training or self.refine is not None):
            fpn = self.lateral(fpn, coarse)
            if self.training:
                auxiliary = self.lateral.auxiliary(fpn)
        refined = None if self.refine is None else self.refine(coarse, dense, fpn[-1])
        return IPSAMOutput(mask_logits, coarse, refined, fg_logits, bg_logits, gate, auxiliary)
