"""Position embeddings of SAM's image encoder for an image size that it was not trained for."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ipsam.model.backbones.backbone import PATCH

POSITIONS = "vision_encoder.pos_embed"  # (1, h, w, c), one for each cell of the embedding grid


def resize_positions(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> int | None:
    """Interpolate a file's position embeddings, in place, to the image size of the model that needs them.

    These are the absolute ones and the relative ones of global attention; those of windows do not depend on the size.
    Tensors of an unexpected form are left, for the check of the shapes to name.

    Returns:
        The file's image size in pixels; None if nothing was interpolated.
    """
    after = wanted[POSITIONS].shape[1]
    position = found.get(POSITIONS)
    if position is None or position.ndim != 4 or not position.numel() or not position.is_floating_point():
        return None
    before = position.shape[1]
    if position.shape[2] != before or before == after:
        return None
    resized = F.interpolate(position.float().permute(0, 3, 1, 2), size=(after, after), mode="bilinear")
    found[POSITIONS] = resized.permute(0, 2, 3, 1)
    for name in found.keys() & wanted.keys():
        if name.endswith((".rel_pos_h", ".rel_pos_w")) and wanted[name].shape[0] == 2 * after - 1:
            table = found[name]
            if table.shape[:-1] == (2 * before - 1,) and table.is_floating_point() and table.numel():
                found[name] = F.interpolate(table.float().T[None], size=2 * after - 1, mode="linear")[0].T
    return before * PATCH
