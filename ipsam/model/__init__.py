"""IP-SAM's modules, from an image to mask logits. README.md describes the contract and how to add your own.

Notation for tensor shapes, used throughout the package:

    b      batch
    H, W   network input size in pixels (a multiple of 32)
    h, w   embedding grid, H/16 x W/16
    hm, wm mask grid, H/4 x W/4 = 4h x 4w: dense prompts and mask logits live here
    c      embedding width of SAM2 (256; narrower in the micro variant)
    n      sparse prompt tokens
"""

from ipsam.model.backbones.backbone import Backbone
from ipsam.model.backbones.sam2 import SAM2Backbone
from ipsam.model.backbones.timm import TimmBackbone
from ipsam.model.backbones.transformers import TransformersBackbone
from ipsam.model.decoder import MaskDecoder
from ipsam.model.dense_prompt import BinarisedPrompt, ScaledPrompt
from ipsam.model.feature_addition import FeatureAddition
from ipsam.model.fusion import ConcatenationFusion, CrossAttentionFusion, Fusion, SubtractionFusion
from ipsam.model.gating import PromptSpaceGating, PurifiedAnchorGating
from ipsam.model.ipsam import IPSAM
from ipsam.model.lateral import LateralInhibition
from ipsam.model.lora import LoRA
from ipsam.model.minimal_self_prompt import MinimalSelfPromptGenerator
from ipsam.model.refine import RefinementHead
from ipsam.model.segmenter import IPSAMOutput, NoBackbone, Segmenter
from ipsam.model.self_prompt import SelfPromptGenerator, SelfPrompts

__all__ = [
    "IPSAM",
    "Backbone",
    "BinarisedPrompt",
    "ConcatenationFusion",
    "CrossAttentionFusion",
    "FeatureAddition",
    "Fusion",
    "IPSAMOutput",
    "LateralInhibition",
    "LoRA",
    "MaskDecoder",
    "MinimalSelfPromptGenerator",
    "NoBackbone",
    "PromptSpaceGating",
    "PurifiedAnchorGating",
    "RefinementHead",
    "SAM2Backbone",
    "ScaledPrompt",
    "Segmenter",
    "SelfPromptGenerator",
    "SelfPrompts",
    "SubtractionFusion",
    "TimmBackbone",
    "TransformersBackbone",
]
