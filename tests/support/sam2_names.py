"""SAM2's tensors by transformers' names, as its conversion script writes them."""

import re

import torch
from torch import Tensor

from ipsam.model import SAM2Backbone

NAMES = {
    r"^image_encoder\.trunk\.": "vision_encoder.backbone.",
    r"^image_encoder\.neck\.(convs\.\d)\.conv\.": r"vision_encoder.neck.\1.",
    r"patch_embed\.proj\.": "patch_embed.projection.",
    r"\.norm(\d)\.": r".layer_norm\1.",
    r"\.mlp\.layers\.0\.": ".mlp.proj_in.",
    r"\.mlp\.layers\.1\.": ".mlp.proj_out.",
    r"pe_layer\.positional_encoding_gaussian_matrix": "shared_embedding.positional_embedding",
    r"mask_downscaling\.0\.": "mask_embed.conv1.",
    r"mask_downscaling\.1\.": "mask_embed.layer_norm1.",
    r"mask_downscaling\.3\.": "mask_embed.conv2.",
    r"mask_downscaling\.4\.": "mask_embed.layer_norm2.",
    r"mask_downscaling\.6\.": "mask_embed.conv3.",
}


def by_transformers_names(backbone: SAM2Backbone) -> dict[str, Tensor]:
    """Rename the tensors of image encoder and prompt encoder; the four point types become one tensor."""
    state = backbone.state_dict()
    types = [state.pop(f"prompt_encoder.point_embeddings.{index}.weight") for index in range(4)]
    renamed = {"prompt_encoder.point_embed.weight": torch.cat(types)}
    for key, tensor in state.items():
        for pattern, name in NAMES.items():
            key = re.sub(pattern, name, key)
        renamed[key] = tensor
    return renamed
