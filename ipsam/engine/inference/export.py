"""Export of a model for other programs: ONNX, or a program of torch.export; one image size, any batch size."""

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
MAX_BATCH = 4096  # torch.export requires a bound


class Exported(nn.Module):
    """A model reduced to its logits, without the intermediates."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 _ _"]:
        """Compute the logits (b, 1, hm, wm) of images (b, 3, image_size, image_size), normalised as for the model."""
        logits: Tensor = self.model(image).logits
        return logits


def export(predictor: Predictor, path: str | Path) -> Path:
    """Write a model as ``.onnx`` or ``.pt2``, by the ending of the path.

    The file maps ``image``, (batch, 3, image_size, image_size) normalised, to ``logits``, (batch, 1, image_size/4,
    image_size/4). Resized to an image and through a sigmoid they are its probability map. The metadata of an ONNX file
    hold image_size, mean and std, which is all that ``scripts/predict_onnx.py`` needs.

    Args:
        predictor: on the CPU and in fp32, so that the file runs anywhere; preferably without ``fast``, whose constants
            would be stored in the file.
        path: of the file; its folder is made.

    Raises:
        ValueError: the ending is another, or the model cannot be exported.
        ImportError: ONNX needs the extra ``[export]``.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
        raise ValueError(f"{path}: the ending selects the format, and must be {known}")
    if predictor.device.type != "cpu" or predictor.bf16:
        raise ValueError("load the model with device=cpu and precision=fp32 to export it")
    example = torch.zeros(2, 3, predictor.image_size, predictor.image_size)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    merge_lora(predictor.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        try:
            model = Exported(predictor.model).eval()
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
    exported = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"])
    assert exported is not None
    metadata = {"image_size": str(image_size), "mean": json.dumps(MEAN), "std": json.dumps(STD), "made_by": "ipsam"}
    exported.model.metadata_props.update(metadata)
    exported.save(path, external_data=False)
    onnx.checker.check_model(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' own log, warnings and prints."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)
