"""YOLOv8, which finds the boxes for YOLOv8+SAM2; needs the package ``ultralytics-opencv-headless``."""

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
from ipsam.model.ipsam import IPSAMOutput
from ipsam.model.sam2_weights import key_difference, sha256_of
from ipsam.model.segmenter import Segmenter
from ipsam.utils.imagenet import denormalise
from ipsam.utils.untrusted import check_archive

NOTHING_FOUND = "nothing detected, the box is the whole image"

URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
STRIDE = 32  # the coarsest grid's, in pixels


class YOLOv8(nn.Module):
    """YOLOv8 as its authors trained it on COCO, frozen.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        checkpoint: a published ``.pt`` file; None leaves random weights.
        image_size: side of the square that images are resized to, in pixels, a multiple of 32.
        confidence: the least that counts as a find.

    Attributes:
        base_sha256: of the checkpoint; None for random weights.

    Raises:
        ImportError: without that package.
        ValueError: for a size there isn't, or a file that doesn't fit.
        FileNotFoundError: for a missing file.
    """

    keeps_fp32 = True  # where others compute in bf16, which would round boxes to several pixels

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
        self.base_sha256: str | None = None
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
                f"no YOLOv8 weights at {path}\nget them with: curl -L --create-dirs -o {path} {URL}/yolov8{size}.pt\n"
                "name another file with model.detector.checkpoint=... (eval.py: base={detector: ...}), or take random "
                "weights with model.detector.checkpoint=null"
            )
        found = _read_tensors(path)
        if difference := key_difference(self.model.state_dict(), found):
            raise ValueError(f"{path} does not fit YOLOv8{size} (is model.detector.size the right one?)\n{difference}")
        self.model.load_state_dict(found)
        self.base_sha256 = sha256_of(path)


class _Inert:
    """Stands in for every class and function that a file names: holds what it is given, and runs nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a file that is a pickle of whole modules, of which no code is run.

    Raises:
        ValueError: it is damaged, or holds no modules.
    """
    try:
        check_archive(path, only_tensors=False)
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in names]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is damaged, or no file of YOLOv8's: {reason}") from error
    model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    tensors = _tensors_of(model, "")
    if not tensors:
        raise ValueError(f'{path} is no file of YOLOv8\'s: it must hold its module under "model"')
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
        os.environ.setdefault(key, value)  # it would look for the network when imported, and install what it misses
    environment, image_open, torch_save = dict(os.environ), Image.open, torch.save
    try:
        from ultralytics.nn.tasks import DetectionModel
    except ImportError as error:
        raise ImportError("YOLOv8 needs: pip install 'ultralytics-opencv-headless>=8.4' (AGPL-3.0)") from error
    finally:  # importing it replaces these for the whole process: no image would be opened as before
        Image.open, torch.save = image_open, torch_save
        os.environ.clear()
        os.environ.update(environment)
    return DetectionModel


class DetectedBox(Segmenter):
    """SAM2 with the detector's most confident box as prompt; the whole image where it finds nothing (section 4.2).

    Args:
        backbone: SAM or SAM2.
        detector: finds the boxes.
    """

    uses_all_parameters = False

    def __init__(self, backbone: Promptable, *, detector: YOLOv8) -> None:
        super().__init__()
        self.backbone: Promptable = backbone
        self.detector = detector

    @property
    def base_sha256(self) -> str | None:
        """Of both files, joined by a plus; None if either's weights are random."""
        digests = (self.backbone.base_sha256, self.detector.base_sha256)
        return None if None in digests else "+".join(map(str, digests))

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Mask logits (b, 1, hm, wm) of images (b, 3, H, W)."""
        boxes, found = self.detector(denormalise(image))
        boxes = torch.where(found[:, None], boxes, whole_image(image))
        logits, _ = self.backbone.segment(image, Prompts(boxes=boxes))
        return IPSAMOutput(logits, logits, remarks=["" if one else NOTHING_FOUND for one in found.tolist()])
