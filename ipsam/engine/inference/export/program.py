"""Export of a model as ONNX, OpenVINO or a program of torch.export; one image size, any batch size."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.engine.inference.export.precision import write_at
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.exported_file import IR
from ipsam.model.lora import merge_lora
from ipsam.utils.files import write_bytes
from ipsam.utils.folders import writable_file
from ipsam.utils.imagenet import MEAN, STD

FORMATS = {".onnx": "ONNX", IR: "OpenVINO", ".pt2": "a program of torch.export"}
PRECISIONS = {".onnx": ("fp32", "fp16", "int8"), IR: ("fp32", "bf16", "int8"), ".pt2": ("fp32",)}
PACKAGES = {".onnx": ("onnx", "onnxscript", "onnxruntime"), IR: ("onnx", "onnxscript", "openvino"), ".pt2": ()}
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


def export(predictor: Predictor, path: str | Path, precision: str = "fp32", calibration: Sequence[Path] = ()) -> Path:
    """Write a model as ``.onnx``, ``.xml`` (OpenVINO, with a ``.bin`` beside it) or ``.pt2``, by the path's ending.

    The file maps ``image``, (batch, 3, image_size, image_size) normalised, to ``logits``, (batch, 1, image_size/4,
    image_size/4). Resized to an image and through a sigmoid they are its probability map. Resizing, letterboxing and
    normalising are left to the caller: the metadata of an ONNX file hold image_size, letterbox, mean and std, which is
    all that ``scripts/predict_onnx.py`` needs. The file holds no path or source line of this machine.

    Args:
        predictor: on the CPU and in fp32, so that the file runs anywhere; preferably without ``fast``, whose constants
            would be stored in the file.
        path: of the file; its folder is made.
        precision: one of the format's ``PRECISIONS``.
        calibration: pictures that show which values occur, for int8.

    Raises:
        ValueError: as ``check_target``, or the model cannot be exported.
        ImportError: as ``check_target``.
        OSError: the file cannot be written; an earlier one is unchanged.
    """
    path = check_target(path, precision, calibrated=bool(calibration))
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
            write_at(precision, _to_onnx(program, predictor), path, calibration)
    return path


def check_target(path: str | Path, precision: str = "fp32", *, calibrated: bool = False) -> Path:
    """Check, before any work, that a model can be written to a path.

    Raises:
        ValueError: the ending is another, nothing can be written there, the format has no such precision, or int8 lacks
            pictures to calibrate with.
        ImportError: the format needs an extra.
    """
    path = Path(path).expanduser()
    if path.suffix not in FORMATS:
        known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
        raise ValueError(f"{path}: the ending selects the format, and must be {known}")
    if precision not in PRECISIONS[path.suffix]:
        known = ", ".join(PRECISIONS[path.suffix])
        raise ValueError(f"precision={precision}: a file {path.suffix} can have {known}")
    if calibrated != (precision == "int8"):
        raise ValueError("precision=int8, and only it, needs calibration=FOLDER, pictures such as the model will see")
    packages = (*PACKAGES[path.suffix], *(["nncf"] if precision == "int8" and path.suffix == IR else []))
    if not all(map(find_spec, packages)):  # torch's exporter needs onnxscript
        extra = "export,openvino" if path.suffix == IR else "export"
        raise ImportError(f"{FORMATS[path.suffix]} needs the extra [{extra}]: pip install -e '.[{extra}]'")
    return writable_file(path, "output")


def _to_onnx(program: Any, predictor: Predictor) -> Any:
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    options: dict[str, Any] = {"dynamic_shapes": {"image": {0: BATCH}}}  # its name in the file
    exported = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"], **options)
    assert exported is not None
    ClearMetadataAndDocStringPass()(exported.model)
    about = {"image_size": predictor.image_size, "letterbox": predictor.letterbox, "mean": MEAN, "std": STD}
    metadata = {name: json.dumps(value) for name, value in about.items()}
    exported.model.metadata_props.update({**metadata, "made_by": "ipsam"})
    return onnx_ir.to_proto(exported.model)


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
