"""IP-SAM: SAM2 conditioned through its own prompt space (paper section 3)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ipsam.model.backbone import NUM_LEVELS, SAM2Backbone
from ipsam.model.decoder import MaskDecoder
from ipsam.model.dense_prompt import DensePrompt, FeatureAddition
from ipsam.model.gating_variants import Fusion
from ipsam.model.lateral import LateralInhibition
from ipsam.model.minimal_self_prompt import MinimalSelfPromptGenerator
from ipsam.model.refine import RefinementHead
from ipsam.model.segmenter import Segmenter
from ipsam.model.self_prompt import SelfPromptGenerator

MASK_REDUCTIONS = ("mean", "first")
PREDICTIONS = ("decoder", "fg_prompt")


@dataclass
class IPSAMOutput:
    """Everything a forward pass makes, as logits on the mask grid (hm, wm) = (H/4, W/4) unless said otherwise.

    Attributes:
        mask_logits: the decoder's masks, (b, m, hm, wm).
        coarse: the decoder's masks reduced to one, (b, 1, hm, wm).
        refined: coarse plus the refinement head's residual; None where that head is off. Of MDSAM, the detail branch's
            mask, at the size of the input.
        fg_logits, bg_logits: SPG's dense prompts P+ and P-; None where SPG is off.
        gate: PSG's suppressive gate in (0, 1), (b, 1, h, w); None where PSG is off or its operator has none.
        auxiliary: lateral inhibition's logits of each pyramid level, in training only; else empty.
        prediction: which of them is the prediction, ``decoder`` or ``fg_prompt``.
        remarks: for each image, what is to be counted of it, such as "centroid outside the object"; empty for nothing.
    """

    mask_logits: Float[Tensor, "b m hm wm"]
    coarse: Float[Tensor, "b 1 hm wm"]
    refined: Float[Tensor, "b 1 _ _"] | None = None
    fg_logits: Float[Tensor, "b 1 hm wm"] | None = None
    bg_logits: Float[Tensor, "b 1 hm wm"] | None = None
    gate: Float[Tensor, "b 1 h w"] | None = None
    auxiliary: list[Float[Tensor, "b 1 _ _"]] = field(default_factory=list)
    prediction: str = "decoder"
    remarks: list[str] = field(default_factory=list)

    @property
    def logits(self) -> Float[Tensor, "b 1 _ _"]:
        """The prediction: refined where there is a refinement head, else coarse; or P+ itself, as the model is told."""
        if self.prediction == "fg_prompt":
            assert self.fg_logits is not None, "no SPG, no P+"
            return self.fg_logits
        return self.coarse if self.refined is None else self.refined


class IPSAM(Segmenter):
    """The full model; each part but backbone and decoder can be left out (Table 2) or put in another's place (Table 3).

    Args:
        backbone: SAM2's image encoder and prompt encoder.
        decoder: the task-specific mask decoder.
        self_prompt: SPG; None conditions the decoder on null prompts.
        dense_prompt: what is done to P+ and P- before the prompt encoder; None feeds it the raw logits (section 3.2).
        gating: PSG or another operator that makes one dense prompt (b, c, h, w), and a gate or None, of the embeddings
            E+ and E-; None hands E+ on as it is. Needs ``self_prompt``.
        feature_addition: adds P+ to the image embedding; the dense prompt is then the null prompt's. None conditions
            through the prompt space.
        lateral: lateral inhibition; None leaves the feature pyramid alone.
        refine: refinement head; None makes the coarse mask the prediction.
        mask_reduction: ``mean`` of the decoder's masks, or the ``first`` (SAM's single-mask token).
        prediction: ``decoder``, or ``fg_prompt`` for SPG's direct output P+ (Table 3, part I); training is the same.

    Raises:
        ValueError: for parts that don't fit together.
    """

    def __init__(
        self,
        backbone: SAM2Backbone,
        *,
        decoder: MaskDecoder,
        self_prompt: SelfPromptGenerator | MinimalSelfPromptGenerator | None = None,
        dense_prompt: DensePrompt | None = None,
        gating: Fusion | None = None,
        feature_addition: FeatureAddition | None = None,
        lateral: LateralInhibition | None = None,
        refine: RefinementHead | None = None,
        mask_reduction: str = "mean",
        prediction: str = "decoder",
    ) -> None:
        super().__init__()
        if mask_reduction not in MASK_REDUCTIONS:
            raise ValueError(f"mask_reduction must be one of {', '.join(MASK_REDUCTIONS)}, not {mask_reduction!r}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, not {prediction!r}")
        self.backbone: SAM2Backbone = backbone
        self.self_prompt = self_prompt
        self.dense_prompt = dense_prompt
        self.gating = gating
        self.feature_addition = feature_addition
        self.decoder = decoder
        self.lateral = lateral
        self.refine = refine
        self.mask_reduction = mask_reduction
        self.prediction = prediction
        self._check_self_prompts()
        self._check_decoder()

    def _check_self_prompts(self) -> None:
        if self.self_prompt is None:
            if self.gating is not None:
                raise ValueError("gating works on the self-prompts: set model.gating=null where model.self_prompt=null")
            if self.dense_prompt is not None or self.feature_addition is not None:
                raise ValueError(
                    "dense_prompt and feature_addition work on the self-prompts: set both to null where "
                    "model.self_prompt=null"
                )
            if self.prediction == "fg_prompt":
                raise ValueError("prediction=fg_prompt is SPG's direct output, and model.self_prompt=null has none")
            if self.backbone.train_prompt_encoder:
                raise ValueError("train_prompt_encoder needs self-prompts, and model.self_prompt=null has none")
        if self.feature_addition is not None and (self.gating is not None or self.dense_prompt is not None):
            raise ValueError(
                "feature_addition leaves the prompt space: set model.gating and model.dense_prompt to null"
            )

    def _check_decoder(self) -> None:
        decoder, dim = self.decoder, self.backbone.dim
        if decoder.dim != dim:
            raise ValueError(f"decoder.dim is {decoder.dim}, but the backbone's embedding width is {dim}")
        num_mask_tokens = 0 if self.self_prompt is None else self.self_prompt.num_mask_tokens
        if num_mask_tokens == 0 and decoder.mask_tokens is None:
            raise ValueError(
                "without self_prompt, or with one that makes no mask tokens, the decoder needs "
                "model.decoder.own_mask_tokens=true"
            )
        if num_mask_tokens > 0 and decoder.mask_tokens is not None:
            raise ValueError(
                "decoder.own_mask_tokens=true replaces the mask tokens that self_prompt makes, which would then train "
                "for nothing: set model.self_prompt.num_mask_tokens=0 with it"
            )
        if num_mask_tokens not in (0, decoder.num_mask_tokens):
            raise ValueError(
                f"self_prompt.num_mask_tokens is {num_mask_tokens}, but the decoder draws "
                f"{decoder.num_mask_tokens} masks: they must agree"
            )

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Logits of an image (b, 3, H, W), normalised by ImageNet's mean and standard deviation; H = W = image_size."""
        num_levels = NUM_LEVELS if self.training and self.lateral is not None else 1  # what is read below
        *finer, features = self.backbone(image, num_levels=num_levels)  # features: (b, c, h, w)
        position = self.backbone.position()  # (1, c, h, w)

        fg_logits = bg_logits = gate = mask_tokens = None
        if self.self_prompt is None:
            sparse, dense = self.backbone.null_prompts(image.shape[0])  # (b, 0, c), (b, c, h, w)
        else:
            prompts = self.self_prompt(features, position)
            fg_logits, bg_logits, mask_tokens = prompts.fg_logits, prompts.bg_logits, prompts.mask_tokens
            fg_tokens = prompts.fg_tokens + self.backbone.point_type(1)
            bg_tokens = prompts.bg_tokens + self.backbone.point_type(0)
            sparse = torch.cat([fg_tokens, bg_tokens], dim=1)  # (b, 2n, c)
            if self.feature_addition is None:
                dense, gate = self.condition(fg_logits, bg_logits)
            else:
                features = self.feature_addition(features, fg_logits)
                _, dense = self.backbone.null_prompts(image.shape[0])

        mask_logits = self.decoder(features, position=position, dense=dense, sparse=sparse, mask_tokens=mask_tokens)
        coarse = mask_logits.mean(1, keepdim=True) if self.mask_reduction == "mean" else mask_logits[:, :1]

        fpn = [*finer, features]
        auxiliary: list[Tensor] = []
        if self.lateral is not None and (self.training or self.refine is not None):
            fpn = self.lateral(fpn, coarse)
            if self.training:
                auxiliary = self.lateral.auxiliary(fpn)
        refined = None if self.refine is None else self.refine(coarse, dense, fpn[-1])
        return IPSAMOutput(mask_logits, coarse, refined, fg_logits, bg_logits, gate, auxiliary, self.prediction)

    def condition(
        self, fg_logits: Float[Tensor, "b 1 hm wm"], bg_logits: Float[Tensor, "b 1 hm wm"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"] | None]:
        """P+ and P-, (b, 1, 4h, 4w) each, to one dense prompt (b, c, h, w) and PSG's gate (sections 3.2 and 3.3)."""
        fg_dense = self.encode(fg_logits)
        if self.gating is None:
            return fg_dense, None
        dense, gate = self.gating(fg_dense, self.encode(bg_logits))
        return dense, gate

    def encode(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b c h w"]:
        """Dense prompt embedding (b, c, h, w) of P+ or P-, (b, 1, 4h, 4w), after ``dense_prompt``."""
        return self.backbone.encode_dense(logits if self.dense_prompt is None else self.dense_prompt(logits))
