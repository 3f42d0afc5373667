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
from ipsam.model.gating import PromptSpaceGating
from ipsam.model.ipsam import IPSAM, IPSAMOutput
from ipsam.model.lateral import LateralInhibition
from ipsam.model.lora import LoRA
from ipsam.model.refine import RefinementHead
from ipsam.model.self_prompt import SelfPromptGenerator, SelfPrompts

__all__ = [
    "IPSAM",
    "IPSAMOutput",
    "LateralInhibition",
    "LoRA",
    "MaskDecoder",
    "PromptSpaceGating",
    "RefinementHead",
    "SAM2Backbone",
    "SelfPromptGenerator",
    "SelfPrompts",
]
