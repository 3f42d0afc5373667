"""YOLOv8+SAM2: a box detector that prompts SAM2. It needs the package ``ultralytics-opencv-headless``."""

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

from ipsam.model.baselines.promptable import Promptable, Prompts
from ipsam.model.baselines.prompted import whole_image
from ipsam.model.segmenter import IPSAMOutput, Segmenter
from ipsam.utils.imagenet import denormalise
from ipsam.utils.untrusted import check_archive
from ipsam.utils.weights import key_difference, sha256_of

NOTHING_FOUND = "nothing detected, the box is the whole image"

URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
STRIDE = 32  # pixels; YOLOv8's coarsest grid


class YOLOv8(nn.Module):
    """YOLOv8 as its authors trained it on COCO, frozen.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        checkpoint: a published ``.pt`` file; None takes random weights.
        image_size: side of the square that images are resized to, in pixels, a multiple of 32.
        confidence: lowest score of a box that counts as found.

    Attributes:
        base_sha256: SHA-256 of the checkpoint; None for random weights.

    Raises:
        ImportError: the package is not installed.
        ValueError: an unknown size, an invalid image size, or a checkpoint that does not fit.
        FileNotFoundError: the checkpoint is missing.
    """

    keeps_fp32 = True  # bf16 would round boxes by several pixels

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
            raise ValueError(f"size must be one of n, s, m, l, x, not {size!r}")
        if image_size < STRIDE or image_size % STRIDE:
            raise ValueError(f"image_size must be a positive multiple of {STRIDE}, not {image_size}")
        self.image_size = image_size
        self.confidence = confidence
        self.model: Any = _detection_model()(f"yolov8{size}.yaml", verbose=False)
        self.base_sha256: str | None = None
        if checkpoint is not None:
            self._load(Path(checkpoint), size)
        self.requires_grad_(False)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b 4"], Bool[Tensor, " b"]]:
        """Find the most confident box of each image, of any class.

        Args:
            image: (b, 3, H, W) in [0, 1].

        Returns:
            Boxes (x0, y0, x1, y1) in pixels of the image, (b, 4), and whether each reaches ``confidence``, (b,).
        """
        height, width = image.shape[-2:]
        size = (self.image_size, self.image_size)
        resized = F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        with torch.autocast(image.device.type, enabled=False):
            found = self.model.eval()(resized)[0]  # (b, 4 + classes, candidates); x, y, width, height
        scores, best = found[:, 4:].amax(1).max(1)
        x, y, w, h = found[torch.arange(len(found)), :4, best].unbind(1)
        limits = torch.tensor([width, height, width, height], dtype=found.dtype, device=image.device)
        boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1) * limits / self.image_size
        return boxes.clamp(min=0).minimum(limits), scores >= self.confidence

    def _load(self, path: Path, size: str) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"no YOLOv8 weights at {path}\n"
                f"download them with: curl -L --create-dirs -o {path} {URL}/yolov8{size}.pt\n"
                "name another file with checkpoint=..., or take random weights with checkpoint=None"
            )
        found = _read_tensors(path)
        if difference := key_difference(self.model.state_dict(), found):
            raise ValueError(f"{path} does not fit YOLOv8{size} (is size the right one?)\n{difference}")
        self.model.load_state_dict(found)
        self.base_sha256 = sha256_of(path)


class _Inert:
    """Placeholder for every class and function that a file names: it stores its state and runs no code."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a pickle of whole modules without running any code from it.

    Raises:
        ValueError: the file is damaged or holds no modules.
    """
    try:
        check_archive(path, only_tensors=False)
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in names]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on arbitrary bytes the unpickler raises any exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is damaged or not a YOLOv8 checkpoint: {reason}") from error
    model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    tensors = _tensors_of(model, "")
    if not tensors:
        raise ValueError(f'{path} is not a YOLOv8 checkpoint: it must hold a module under "model"')
    return tensors


def _tensors_of(module: object, prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    parts = module.__dict__ if isinstance(module, _Inert) else {}
    for kind in ("_parameters", "_buffers"):
        of_kind = parts.get(kind)
        for name, tensor in of_kind.items() if isinstance(of_kind, dict) else ():
            if isinstance(tensor, Tensor):
                found[f"{prefix}{name}"] = tensor.detach()
    children = parts.get("_modules")
    for name, child in children.items() if isinstance(children, dict) else ():
        found |= _tensors_of(child, f"{prefix}{name}.")
    return found


def _detection_model() -> Any:
    for key, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false")):
        os.environ.setdefault(key, value)  # on import it would look for the network and install packages
    environment, image_open, torch_save = dict(os.environ), Image.open, torch.save
    try:
        from ultralytics.nn.tasks import DetectionModel
    except ImportError as error:
        raise ImportError("YOLOv8 needs: pip install 'ultralytics-opencv-headless>=8.4' (AGPL-3.0)") from error
    finally:  # the import replaces these functions for the whole process
        Image.open, torch.save = image_open, torch_save
        os.environ.clear()
        os.environ.update(environment)
    return DetectionModel


class DetectedBox(Segmenter):
    """SAM2 prompted with the detector's most confident box, or with the whole image if none is found (section 4.2).

    Args:
        backbone: SAM or SAM2.
        detector: box detector.
    """

    uses_all_parameters = False

    def __init__(self, backbone: Promptable, *, detector: YOLOv8) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.detector = detector

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of both files, joined by a plus; None if either model has random weights."""
        digests = (self.backbone.base_sha256, self.detector.base_sha256)
        return None if None in digests else "+".join(map(str, digests))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Segment images (b, 3, H, W) by mask logits (b, 1, hm, wm)."""
        boxes, found = self.detector(denormalise(image))
        boxes = torch.where(found[:, None], boxes, whole_image(image))
        logits, _ = self.backbone.segment(image, Prompts(boxes=boxes))
        return IPSAMOutput(logits, logits, remarks=["" if one else NOTHING_FOUND for one in found.tolist()])
