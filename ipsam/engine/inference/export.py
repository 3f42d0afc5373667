"""A model for other programs: ONNX, or a program of torch.export; at one size, for any number of images."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.engine.inference.predictor import Predictor
from ipsam.model.lora import merge_lora
from ipsam.utils.imagenet import MEAN, STD

FORMATS = {".onnx": "ONNX", ".pt2": "a program of torch.export"}
MOST = 4096  # images a batch: torch.export wants a bound


class Exported(nn.Module):
    """What is exported: images to mask logits, without the intermediates."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 _ _"]:
        """Logits (b, 1, hm, wm) of images (b, 3, image_size, image_size), normalised as for the model itself."""
        logits: Tensor = self.model(image).logits
        return logits


def export(predictor: Predictor, path: str | Path) -> Path:
    """Write a model as ``.onnx`` or ``.pt2``, by the ending of the path.

    The file takes ``image``, (batch, 3, image_size, image_size) normalised, of any batch, and gives ``logits``, (batch,
    1, image_size/4, image_size/4): resized to an image and through a sigmoid they are its map. An ONNX file tells
    image_size, mean and std in its metadata, all that ``scripts/predict_onnx.py`` needs to know.

    Args:
        predictor: on the CPU and in fp32, so that the file is of no machine's own kind; best without ``fast``, whose
            constants would be written into it.
        path: where to; its folder is made.

    Raises:
        ValueError: for another ending, or a model that can't be exported.
        ImportError: ONNX needs the extra ``[export]``.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
        raise ValueError(f"{path}: the ending tells the format, and must be {known}")
    if predictor.device.type != "cpu" or predictor.bf16:
        raise ValueError("load the model with device=cpu and precision=fp32 to export it")
    example = torch.zeros(2, 3, predictor.image_size, predictor.image_size)
    batch = torch.export.Dim("batch", min=1, max=MOST)
    merge_lora(predictor.model)
    model = Exported(predictor.model).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        try:
            program = torch.export.export(model, (example,), dynamic_shapes={"image": {0: batch}})
        except Exception as error:  # torch.export fails in many ways
            kind = type(predictor.model).__name__
            raise ValueError(f"{kind} can't be exported: {next(iter(str(error).splitlines()), error)}") from error
        if path.suffix == ".pt2":
            torch.export.save(program, path)
        else:
            _write_onnx(program, path, predictor.image_size)
    return path


def _write_onnx(program: Any, path: Path, image_size: int) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ImportError("ONNX needs the extra [export]: pip install -e '.[export]'") from error
    made = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"])
    assert made is not None
    made.model.metadata_props.update(
        {"image_size": str(image_size), "mean": json.dumps(MEAN), "std": json.dumps(STD), "made_by": "ipsam"}
    )
    made.save(path, external_data=False)
    onnx.checker.check_model(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own account of what they do."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)
