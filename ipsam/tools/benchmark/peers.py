"""What the model is compared with in inference: sam2's own way of an image, and transformers' SAM2."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from sam2.sam2_image_predictor import SAM2ImagePredictor
from torch import Tensor, nn

from ipsam.engine.inference.prediction import PNG_LEVEL
from ipsam.model import SAM2Backbone
from ipsam.model.baselines import SAM2, NullPrompt
from ipsam.model.lora import merge_lora


def sam2_path(backbone: SAM2Backbone, *, variant: str) -> NullPrompt:
    """sam2's own way of an image with the weights of a backbone: image encoder, prompt encoder, mask decoder.

    The prompt is what sam2's predictor takes where it is given none: no points, and the learned embedding for "no
    mask". It costs less than any other. The mask decoder reads the high-resolution features and draws a single mask.

    Args:
        backbone: copied; LoRA, if any, is merged in the copy.
        variant: of the backbone.
    """
    sam2 = SAM2(variant, image_size=backbone.image_size)
    encoder = copy.deepcopy(backbone.image_encoder)
    merge_lora(encoder)
    sam2.model.image_encoder = encoder
    sam2.model.sam_prompt_encoder.load_state_dict(backbone.prompt_encoder.state_dict())
    device = next(backbone.parameters()).device
    return NullPrompt(sam2, zero_mask=False).requires_grad_(False).eval().to(device)


def sam2_predictor(path: NullPrompt) -> SAM2ImagePredictor:
    """sam2's predictor of a model that ``sam2_path`` made, told the size of its input, which it takes to be 1024."""
    assert isinstance(path.backbone, SAM2)
    predictor = SAM2ImagePredictor(path.backbone.model)
    sides = [path.backbone.image_size // stride for stride in (4, 8, 16)]
    predictor._bb_feat_sizes = [(side, side) for side in sides]
    return predictor


@torch.inference_mode()
def predict_one_by_one(
    predictor: SAM2ImagePredictor, files: Sequence[Path], folder: Path, *, device: torch.device, bf16: bool
) -> None:
    """Images to maps as sam2's examples show it: open, set the image, predict with one point, save.

    Args:
        predictor: of sam2.
        files: images.
        folder: for their maps, PNG.
        device: where the model is.
        bf16: whether under autocast in bf16.
    """
    for file in files:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            image = np.array(Image.open(file).convert("RGB"))
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


class TransformersSAM2(nn.Module):
    """transformers' SAM2 of the sizes of a backbone, with random weights, given one point: the image's centre.

    Args:
        backbone: nothing of it is kept.
    """

    def __init__(self, backbone: SAM2Backbone) -> None:
        super().__init__()
        from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig  # takes seconds

        trunk, neck, side = backbone.image_encoder.trunk, backbone.image_encoder.neck, backbone.image_size
        last = [trunk.blocks[end] for end in trunk.stage_ends]  # block of each stage
        starts = [0, *(end + 1 for end in trunk.stage_ends[:-1])]
        hiera = Sam2HieraDetConfig(
            image_size=[side, side],
            hidden_size=trunk.patch_embed.proj.out_channels,
            num_attention_heads=last[0].attn.num_heads,
            blocks_per_stage=[end + 1 - start for start, end in zip(starts, trunk.stage_ends, strict=True)],
            embed_dim_per_stage=[block.dim_out for block in last],
            num_attention_heads_per_stage=[block.attn.num_heads for block in last],
            window_size_per_stage=list(trunk.window_spec),
            global_attention_blocks=list(trunk.global_att_blocks),
            window_positional_embedding_background_size=list(trunk.window_pos_embed_bkg_spatial_size),
        )
        vision = Sam2VisionConfig(
            backbone_config=hiera,
            backbone_channel_list=list(neck.backbone_channel_list),
            backbone_feature_sizes=[[side // stride, side // stride] for stride in (4, 8, 16)],
            fpn_hidden_size=backbone.dim,
        )
        parts = {"prompt_encoder_config": {"image_size": side}, "mask_decoder_config": {}}
        widths = {name: {"hidden_size": backbone.dim, **values} for name, values in parts.items()}
        self.model = Sam2Model(Sam2Config(vision_config=vision, **widths)).requires_grad_(False).eval()

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 1 hm wm"]:
        """Mask logits (b, 1, 1, hm, wm) of images (b, 3, H, W)."""
        centre = image.new_full((image.shape[0], 1, 1, 2), image.shape[-1] / 2)
        masks: Tensor = self.model(pixel_values=image, input_points=centre, multimask_output=False).pred_masks
        return masks
