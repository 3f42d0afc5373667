"""YOLOv8, which finds the boxes for YOLOv8+SAM2; needs the extra ``[yolo]``."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ipsam.model.sam2_weights import key_difference, sha256_of

URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
STRIDE = 32  # the coarsest grid's, in pixels
# What a published file consists of beside plain values: it is a pickle of whole modules, and only these are unpickled.
ALLOWED = {
    "torch.nn": ("BatchNorm2d", "Conv2d", "MaxPool2d", "ModuleList", "Sequential", "SiLU", "Upsample"),
    "ultralytics.nn.tasks": ("DetectionModel",),
    "ultralytics.nn.modules": ("Bottleneck", "C2f", "Concat", "Conv", "DFL", "Detect", "SPPF"),
}


class YOLOv8(nn.Module):
    """YOLOv8 as its authors trained it on COCO, frozen.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        checkpoint: a published ``.pt`` file; None leaves random weights.
        image_size: side of the square that images are resized to, in pixels, a multiple of 32.
        confidence: the least that counts as a find.

    Attributes:
        sha256: of the checkpoint; None for random weights.

    Raises:
        ImportError: without the extra ``[yolo]``.
        ValueError: for a size there isn't, or a file that doesn't fit.
        FileNotFoundError: for a missing file.
    """

    def __init__(
        self,
        size: str = "l",
        *,
        checkpoint: str | Path | None = None,
        image_size: int = 640,
        confidence: float = 0.25,
    ) -> None:
        super().__init__()
        if size not in tuple("nsmlx"):
            raise ValueError(f"YOLOv8 comes in sizes n, s, m, l and x, not {size!r}")
        if image_size < STRIDE or image_size % STRIDE:
            raise ValueError(f"detector.image_size must be a positive multiple of {STRIDE}, not {image_size}")
        self.image_size = image_size
        self.confidence = confidence
        self.model: Any = _detection_model()(f"yolov8{size}.yaml", verbose=False)
        self.sha256: str | None = None
        if checkpoint is not None:
            self._load(Path(checkpoint), size)
        self.requires_grad_(False)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b 4"], Bool[Tensor, " b"]]:
        """The most confident box of each image, of any class, and whether it is confident enough to count.

        Args:
            image: (b, 3, H, W) in [0, 1].

        Returns:
            Boxes (x0, y0, x1, y1), (b, 4), in pixels of the image; and whether anything was found, (b,).
        """
        height, width = image.shape[-2:]
        size = (self.image_size, self.image_size)
        resized = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        found = self.model.eval()(resized)[0].float()  # (b, 4 + classes, candidates); x, y, width, height
        scores, best = found[:, 4:].amax(1).max(1)
        x, y, w, h = found[torch.arange(len(found)), :4, best].unbind(1)
        scale = torch.tensor([width, height, width, height], device=image.device) / self.image_size
        boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1) * scale
        limits = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=image.device)
        return boxes.clamp(min=0).minimum(limits), scores >= self.confidence

    def _load(self, path: Path, size: str) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"no YOLOv8 weights at {path}\nget them with: curl -L --create-dirs -o {path} {URL}/yolov8{size}.pt\n"
                "name another file with model.detector.checkpoint=..., or take random weights with "
                "model.detector.checkpoint=null"
            )
        allowed = [getattr(_module(module), name) for module, names in ALLOWED.items() for name in names]
        try:
            with torch.serialization.safe_globals(allowed):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way
            reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), str(error).splitlines()[0])
            raise ValueError(f"{path} is damaged, or holds more than YOLOv8's own modules: {reason.strip()}") from error
        model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
        if not isinstance(model, nn.Module):
            raise ValueError(f'{path} is no checkpoint of YOLOv8: it must hold its module under "model"')
        found = {key: tensor.float() for key, tensor in model.state_dict().items()}
        if difference := key_difference(self.model.state_dict(), found):
            raise ValueError(f"{path} does not fit YOLOv8{size} (is model.detector.size the right one?)\n{difference}")
        self.model.load_state_dict(found)
        self.sha256 = sha256_of(path)


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(name)


def _detection_model() -> Any:
    for key, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false")):
        os.environ.setdefault(key, value)  # it would look for the network when imported, and install what it misses
    try:
        from ultralytics.nn.tasks import DetectionModel
    except ImportError as error:
        raise ImportError("YOLOv8 needs the extra [yolo]: pip install 'ipsam[yolo]' (AGPL-3.0)") from error
    return DetectionModel
