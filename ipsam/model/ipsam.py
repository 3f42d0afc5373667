"""IP-SAM: SAM2 conditioned through its own prompt space (paper section 3)."""

import torch
from jaxtyping import Float
from torch import Tensor

from ipsam.model.backbones.backbone import NUM_LEVELS, Backbone
from ipsam.model.decoder import MaskDecoder
from ipsam.model.dense_prompt import DensePrompt
from ipsam.model.feature_addition import FeatureAddition
from ipsam.model.fusion import Fusion
from ipsam.model.lateral import LateralInhibition
from ipsam.model.layers import check_choice
from ipsam.model.minimal_self_prompt import MinimalSelfPromptGenerator
from ipsam.model.refine import RefinementHead
from ipsam.model.sam2_checkpoints import load_sam2_decoder
from ipsam.model.segmenter import IPSAMOutput, Segmenter
from ipsam.model.self_prompt import SelfPromptGenerator

MASK_REDUCTIONS = ("mean", "first")
PREDICTIONS = ("decoder", "fg_prompt")
DECODER_WEIGHTS = ("sam2", None)


class IPSAM(Segmenter):
    """The full model. Any part but backbone and decoder can be left out (Table 2) or replaced (Table 3).

    Args:
        backbone: SAM2's image encoder and prompt encoder.
        decoder: the task-specific mask decoder.
        self_prompt: SPG; None conditions the decoder on null prompts.
        dense_prompt: transformation of P+ and P- before the prompt encoder; None keeps the raw logits (section 3.2).
        gating: PSG or another fusion of the embeddings E+ and E-; None passes E+ to the decoder. Needs
            ``self_prompt``.
        feature_addition: adds P+ to the image embedding and replaces the dense prompt by the null prompt's; None
            conditions the decoder through the prompt space.
        lateral: lateral inhibition; None leaves the feature pyramid unchanged.
        refine: refinement head; None makes the coarse mask the prediction.
        mask_reduction: ``mean`` of the decoder's masks, or the ``first`` (SAM's single-mask token).
        prediction: ``decoder``, or ``fg_prompt`` for SPG's direct output P+ (Table 3, part I). Training is the same.
        decoder_weights: ``sam2`` initialises the decoder from SAM2's own in the backbone's checkpoint; None trains it
            from scratch, as in the paper (section 3.5).
        detach_coarse: detach the coarse mask before the refinement, whose loss then does not reach the decoder. The
            paper detaches it for the lateral inhibition and is silent about the refinement (section 3.4).

    Attributes:
        uses_all_parameters: whether the loss reaches every trainable parameter. It does not reach SPG's projection of
            the mask tokens T if the decoder has tokens of its own: T is then withheld (section 4.3, Table 3, part III),
            and the paper still counts the projection.

    Raises:
        ValueError: an argument has an unknown value, or parts do not fit together.
    """

    def __init__(
        self,
        backbone: Backbone,
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
        decoder_weights: str | None = None,
        detach_coarse: bool = False,
    ) -> None:
        super().__init__()
        check_choice("mask_reduction", mask_reduction, MASK_REDUCTIONS)
        check_choice("prediction", prediction, PREDICTIONS)
        check_choice("decoder_weights", decoder_weights, DECODER_WEIGHTS)
        self.backbone: Backbone = backbone
        self.self_prompt = self_prompt
        self.dense_prompt = dense_prompt
        self.gating = gating
        self.feature_addition = feature_addition
        self.decoder = decoder
        self.lateral = lateral
        self.refine = refine
        self.mask_reduction = mask_reduction
        self.prediction = prediction
        self.detach_coarse = detach_coarse
        self._check_self_prompts()
        self._check_decoder()
        self.uses_all_parameters = decoder.mask_tokens is None or self_prompt is None or not self_prompt.num_mask_tokens
        if lateral is None and not decoder.high_res_features:
            backbone.freeze_finer_levels()
        if decoder_weights is not None:
            if backbone.checkpoint is None:
                raise ValueError(
                    "decoder_weights=sam2 takes them from the backbone's checkpoint, and it has none: name SAM2's file "
                    "with backbone.checkpoint=..., or set decoder_weights=None"
                )
            load_sam2_decoder(backbone.checkpoint, decoder)
        if detach_coarse and refine is None:
            raise ValueError("with refine=None nothing refines the coarse mask: set detach_coarse=False as well")

    def _check_self_prompts(self) -> None:
        if self.self_prompt is None:
            remedies = {
                "gating=None": self.gating is not None,
                "dense_prompt=None": self.dense_prompt is not None,
                "feature_addition=None": self.feature_addition is not None,
                "prediction=decoder": self.prediction == "fg_prompt",
                "backbone.train_prompt_encoder=False": self.backbone.train_prompt_encoder,
            }
            if needed := [remedy for remedy, is_needed in remedies.items() if is_needed]:
                raise ValueError(f"with self_prompt=None there are no self-prompts: set {', '.join(needed)} as well")
        if self.feature_addition is not None and (self.gating is not None or self.dense_prompt is not None):
            raise ValueError(
                "feature_addition bypasses the prompt space: set gating=None and dense_prompt=None with it"
            )

    def _check_decoder(self) -> None:
        decoder, dim = self.decoder, self.backbone.dim
        if decoder.dim != dim:
            raise ValueError(f"decoder.dim is {decoder.dim}, but the backbone's embedding width is {dim}")
        if decoder.high_res_features and self.backbone.num_levels < NUM_LEVELS:
            raise ValueError("the backbone has no finer levels for the decoder: set decoder.high_res_features=False")
        num_mask_tokens = 0 if self.self_prompt is None else self.self_prompt.num_mask_tokens
        if num_mask_tokens == 0 and decoder.mask_tokens is None:
            raise ValueError("self_prompt makes no mask tokens: set decoder.own_mask_tokens=True")
        if num_mask_tokens not in (0, decoder.num_mask_tokens):
            raise ValueError(
                f"self_prompt.num_mask_tokens is {num_mask_tokens}, but decoder.num_mask_tokens is "
                f"{decoder.num_mask_tokens}: they must be equal"
            )

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment an image (b, 3, H, W), normalised by ImageNet's mean and standard deviation; H = W = image_size."""
        reads_finer = self.decoder.high_res_features or (self.training and self.lateral is not None)
        num_levels = self.backbone.num_levels if reads_finer else 1
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

        mask_logits = self.decoder(
            features, position=position, dense=dense, sparse=sparse, mask_tokens=mask_tokens, finer=finer
        )
        coarse = mask_logits.mean(1, keepdim=True) if self.mask_reduction == "mean" else mask_logits[:, :1]

        fpn = [*finer, features] if self.training else [features]
        auxiliary: list[Tensor] = []
        if self.lateral is not None and (self.training or self.refine is not None):
            fpn = self.lateral(fpn, coarse)
            if self.training:
                auxiliary = self.lateral.auxiliary(fpn)
        refined = None
        if self.refine is not None:
            refined = self.refine(coarse.detach() if self.detach_coarse else coarse, dense, fpn[-1])
        return IPSAMOutput(mask_logits, coarse, refined, fg_logits, bg_logits, gate, auxiliary, self.prediction)

    def condition(
        self, fg_logits: Float[Tensor, "b 1 hm wm"], bg_logits: Float[Tensor, "b 1 hm wm"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"] | None]:
        """Make one dense prompt (b, c, h, w), and PSG's gate, of P+ and P- (b, 1, 4h, 4w) (sections 3.2 and 3.3)."""
        fg_dense = self.encode(fg_logits)
        if self.gating is None:
            return fg_dense, None
        dense, gate = self.gating(fg_dense, self.encode(bg_logits))
        return dense, gate

    def encode(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b c h w"]:
        """Embed P+ or P- (b, 1, 4h, 4w), after ``dense_prompt``, to (b, c, h, w)."""
        return self.backbone.encode_dense(logits if self.dense_prompt is None else self.dense_prompt(logits))
