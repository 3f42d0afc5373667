"""The paper's comparison systems that share this framework (Tables 1 and 4)."""

from ipsam.model.baselines.automatic import AutomaticMask
from ipsam.model.baselines.detector import DetectedBox, YOLOv8
from ipsam.model.baselines.hiera_adapter import HieraAdapter
from ipsam.model.baselines.mdsam import MDSAM
from ipsam.model.baselines.prompted import NullPrompt, OraclePoint, WholeImageBox
from ipsam.model.baselines.sam import SAM
from ipsam.model.baselines.sam2 import SAM2
from ipsam.model.baselines.unet import UNet
from ipsam.model.baselines.vit_adapter import ViTAdapter

__all__ = [
    "MDSAM",
    "SAM",
    "SAM2",
    "AutomaticMask",
    "DetectedBox",
    "HieraAdapter",
    "NullPrompt",
    "OraclePoint",
    "UNet",
    "ViTAdapter",
    "WholeImageBox",
    "YOLOv8",
]
