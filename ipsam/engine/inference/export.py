"""Export of a model for other programs: ONNX, or a program of torch.export; one image size, any batch size."""

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.engine.inference.predictor import Predictor
from ipsam.model.lora import merge_lora
from ipsam.utils.files import replacing, write_bytes
from ipsam.utils.folders import writable_file
from ipsam.utils.imagenet import MEAN, STD

FORMATS = {".onnx": "ONNX", ".pt2": "a program of torch.export"}
BATCH, MAX_BATCH = "batch", 4096  # torch.export requires a bound
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn")  # paths and source lines of this machine


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
    image_size/4). Resized to an image and through a sigmoid they are its probability map. Resizing, letterboxing and
    normalising are left to the caller: the metadata of an ONNX file hold image_size, letterbox, mean and std, which is
    all that ``scripts/predict_onnx.py`` needs. The file holds no path or source line of this machine.

    Args:
        predictor: on the CPU and in fp32, so that the file runs anywhere; preferably without ``fast``, whose constants
            would be stored in the file.
        path: of the file; its folder is made.

    Raises:
        ValueError: as ``check_target``, or the model cannot be exported.
        ImportError: ONNX needs the extra ``[export]``.
        OSError: the file cannot be written; an earlier one is unchanged.
    """
    path = check_target(path)
    if predictor.device.type != "cpu" or predictor.bf16:
        raise ValueError("load the model with device=cpu and precision=fp32 to export it")
    example = torch.zeros(2, 3, predictor.image_size, predictor.image_size)
    batch = torch.export.Dim(BATCH, min=1, max=MAX_BATCH)
    merge_lora(predictor.model)
    with _quiet():
        try:
            model = Exported(predictor.model).eval()
            program = torch.export.export(model, (example,), dynamic_shapes={"image": {0: batch}})
        except Exception as error:  # torch.export fails in many ways
            kind = type(predictor.model).__name__
            raise ValueError(f"{kind} can't be exported: {next(iter(str(error).splitlines()), error)}") from error
        program.example_inputs = None
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                for key in TRACES:
                    node.meta.pop(key, None)
        if path.suffix == ".pt2":
            content = io.BytesIO()  # on a full disk torch's own writer of files aborts the process
            torch.export.save(program, content)
            write_bytes(path, content.getvalue())
        else:
            _write_onnx(program, path, predictor)
    return path


def check_target(path: str | Path) -> Path:
    """Check, before any work, that a model can be written to a path.

    Raises:
        ValueError: the ending is another, or nothing can be written there.
        ImportError: ONNX needs the extra ``[export]``.
    """
    path = Path(path).expanduser()
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
        raise ValueError(f"{path}: the ending selects the format, and must be {known}")
    if path.suffix == ".onnx" and not all(map(find_spec, ("onnx", "onnxscript"))):  # the latter for torch's exporter
        raise ImportError("ONNX needs the extra [export]: pip install -e '.[export]'")
    return writable_file(path, "output")


def _write_onnx(program: Any, path: Path, predictor: Predictor) -> None:
    import onnx
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    options: dict[str, Any] = {"dynamic_shapes": {"image": {0: BATCH}}}  # its name in the file
    exported = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"], **options)
    assert exported is not None
    ClearMetadataAndDocStringPass()(exported.model)
    about = {"image_size": predictor.image_size, "letterbox": predictor.letterbox, "mean": MEAN, "std": STD}
    metadata = {**{name: json.dumps(value) for name, value in about.items()}, "made_by": "ipsam"}
    exported.model.metadata_props.update(metadata)
    with replacing(path) as part:
        exported.save(part, external_data=False)
        onnx.checker.check_model(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())


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
