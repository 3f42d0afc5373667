"""IP-SAM's modules: what maps an image to mask logits. Knows nothing of data, engine or config files.

Notation for tensor shapes, used throughout the package:

    b      batch
    H, W   network input size in pixels (a multiple of 32)
    h, w   embedding grid, H/16 x W/16
    hm, wm mask grid, H/4 x W/4 = 4h x 4w: dense prompts and mask logits live here
    c      embedding width of SAM2 (256; narrower in the micro variant)
    n      sparse prompt tokens
"""

from ipsam.model.backbone import SAM2Backbone
from ipsam.model.decoder import MaskDecoder
from ipsam.model.dense_prompt import BinarisedPrompt, FeatureAddition, ScaledPrompt
from ipsam.model.gating import PromptSpaceGating
from ipsam.model.gating_variants import (
    ConcatenationFusion,
    CrossAttentionFusion,
    PurifiedAnchorGating,
    SubtractionFusion,
)
from ipsam.model.ipsam import IPSAM, IPSAMOutput
from ipsam.model.lateral import LateralInhibition
from ipsam.model.lora import LoRA
from ipsam.model.minimal_self_prompt import MinimalSelfPromptGenerator
from ipsam.model.refine import RefinementHead
from ipsam.model.segmenter import Segmenter
from ipsam.model.self_prompt import SelfPromptGenerator, SelfPrompts

__all__ = [
    "IPSAM",
    "BinarisedPrompt",
    "ConcatenationFusion",
    "CrossAttentionFusion",
    "FeatureAddition",
    "IPSAMOutput",
    "LateralInhibition",
    "LoRA",
    "MaskDecoder",
    "MinimalSelfPromptGenerator",
    "PromptSpaceGating",
    "PurifiedAnchorGating",
    "RefinementHead",
    "SAM2Backbone",
    "ScaledPrompt",
    "Segmenter",
    "SelfPromptGenerator",
    "SelfPrompts",
    "SubtractionFusion",
]
