"""Peer of the model in inference: sam2's own image path, on tensors and on files."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sam2.sam2_image_predictor import SAM2ImagePredictor

from ipsam.data.decoding.limits import FORMATS
from ipsam.engine.inference.prediction import PNG_LEVEL
from ipsam.model import Backbone, SAM2Backbone
from ipsam.model.baselines import SAM2, NullPrompt
from ipsam.model.lora import merge_lora


def sam2_path(backbone: Backbone, *, variant: str) -> NullPrompt:
    """Build sam2's image encoder, prompt encoder and mask decoder with the weights of a backbone.

    The prompt is the cheapest, sam2's own default: no points, and the learned "no mask" embedding. The mask decoder
    reads the high-resolution features and predicts a single mask.

    Args:
        backbone: copied; LoRA, if any, is merged in the copy.
        variant: variant of the backbone.
    """
    assert isinstance(backbone, SAM2Backbone)
    sam2 = SAM2(variant, image_size=backbone.image_size)
    encoder = copy.deepcopy(backbone.image_encoder)
    merge_lora(encoder)
    sam2.model.image_encoder = encoder
    sam2.model.sam_prompt_encoder.load_state_dict(backbone.prompt_encoder.state_dict())
    device = next(backbone.parameters()).device
    return NullPrompt(sam2, zero_mask=False).requires_grad_(False).eval().to(device)


def sam2_predictor(path: NullPrompt) -> SAM2ImagePredictor:
    """Make sam2's predictor of a model from ``sam2_path``, for the model's image size instead of 1024."""
    assert isinstance(path.backbone, SAM2)
    predictor = SAM2ImagePredictor(path.backbone.model)
    predictor._bb_feat_sizes = [(path.backbone.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return predictor


@torch.inference_mode()
def predict_one_by_one(
    predictor: SAM2ImagePredictor, files: Sequence[Path], folder: Path, *, device: torch.device, bf16: bool
) -> None:
    """Predict maps as sam2's examples do: open the image, set it, predict with one point, save to ``folder`` as PNG."""
    for file in files:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            image = np.array(Image.open(file, formats=FORMATS).convert("RGB"))  # noqa: TID251 (timed)
            predictor.set_image(image)
            height, width = image.shape[:2]
            logits, _, _ = predictor.predict(
                point_coords=np.array([[width / 2, height / 2]]),
                point_labels=np.array([1]),
                multimask_output=False,
                return_logits=True,
            )
        levels = (255 / (1 + np.exp(-logits[0].astype(np.float32)))).round().astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{file.stem}.png", compress_level=PNG_LEVEL)
