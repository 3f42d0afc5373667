"""An exported file as a model of torch, for what predicts with any model: the evaluation and its figures."""

from pathlib import Path

import torch
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor

from ipsam.engine.runs.configuration import build_model
from ipsam.engine.runs.exported_file import describe, is_exported, logits_of
from ipsam.model import IPSAMOutput, NoBackbone, Segmenter


class ExportedModel(Segmenter):
    """Model in an exported file, complete with its weights; it makes no prompts and no gate.

    Args:
        path: of the file.

    Raises:
        ImportError, ValueError, OSError: as ``describe``.
    """

    can_train = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.backbone = NoBackbone(describe(path)["image_size"])
        self.path = path

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Compute the logits (b, 1, hm, wm) of normalised images (b, 3, image_size, image_size)."""
        mask = torch.from_numpy(logits_of(self.path, image.float().cpu().numpy())).to(image.device)
        return IPSAMOutput(mask, mask)


def open_model(model: Path, config: DictConfig) -> Segmenter:
    """Build the model of an exported file; that of a folder by its configuration's ``model``, see ``build_model``.

    ``load_weights`` then loads a folder's weights.
    """
    return ExportedModel(model) if is_exported(model) else build_model(config)
