"""Models in ONNX at a lower precision, and as files of OpenVINO."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.data.placement import Placement
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.exported_predictor import normalised
from ipsam.engine.runs.exported_file import IR
from ipsam.utils.files import replacing, write_files

MOST = 64  # pictures to calibrate with
Batch = NDArray[np.float32]


def write_at(precision: str, model: Any, path: Path, calibration: Sequence[Path] = ()) -> None:
    """Write an ONNX model in fp32 at a precision, as ONNX or as OpenVINO's ``.xml`` and ``.bin``; it may be changed."""
    import onnx

    onnx.helper.set_model_props(model, {**_metadata(model), "precision": precision})
    if path.suffix == IR:
        _write_ir(model, path, precision, calibration)
        return
    convert: dict[str, Callable[[Any], Any]] = {"fp16": as_fp16, "int8": partial(as_int8, calibration=calibration)}
    converted = convert[precision](model) if precision in convert else model
    with replacing(path) as part:
        onnx.save(converted, part)
        onnx.checker.check_model(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())


def as_fp16(model: Any) -> Any:
    """Convert weights and arithmetic to fp16; input and output stay fp32."""
    import onnx_ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = onnx_ir.from_proto(convert_float_to_float16(model, keep_io_types=True))
    converted.graph.sort()  # the conversion of the input is its last node
    return onnx_ir.to_proto(converted)


def as_int8(model: Any, *, calibration: Sequence[Path]) -> Any:
    """Quantise products with weights, and convolutions, per channel; the scales of their inputs fit the pictures.

    Convolutions of the image encoder stay fp32: quantised, they moved the maps of ``lite`` by 0.02 in the mean.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    batches = ({"image": batch} for batch in _batches(model, calibration))

    class Reader(CalibrationDataReader):
        def get_next(self) -> Any:
            return next(batches, None)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "int8.onnx")
        options = {"MatMulConstBOnly": True, "CalibMovingAverage": True}
        kinds = ["Conv", "MatMul", "Gemm"]
        encoder = [one.name for one in model.graph.node if one.op_type == "Conv" and "backbone." in one.input[1]]
        how: dict[str, Any] = {"op_types_to_quantize": kinds, "nodes_to_exclude": encoder, "extra_options": options}
        quantize_static(model, target, Reader(), per_channel=True, **how)
        quantised = onnx.load(target)
    onnx.helper.set_model_props(quantised, _metadata(model))
    return quantised


def _write_ir(model: Any, path: Path, precision: str, calibration: Sequence[Path]) -> None:
    """Write OpenVINO's files. Weights are fp16 unless the precision is fp32; OpenVINO keeps the metadata."""
    import openvino

    ir = openvino.Core().read_model(model.SerializeToString())
    if precision == "int8":
        os.environ.setdefault("NNCF_CI", "1")  # it would report its use over the network
        import nncf

        batches = list(_batches(model, calibration))
        kind, preset = nncf.ModelType.TRANSFORMER, nncf.QuantizationPreset.MIXED
        ir = nncf.quantize(ir, nncf.Dataset(batches), subset_size=len(batches), model_type=kind, preset=preset)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, path.name)
        openvino.save_model(ir, whole, compress_to_fp16=precision != "fp32")
        files = {name: Path(folder, name).read_bytes() for name in (path.name, path.with_suffix(".bin").name)}
    write_files(path.parent, files)


def _metadata(model: Any) -> dict[str, str]:
    return {one.key: one.value for one in model.metadata_props}


def _batches(model: Any, pictures: Sequence[Path]) -> Iterator[Batch]:
    """Yield up to ``MOST`` pictures, evenly spaced, each as the model's input (1, 3, image_size, image_size)."""
    about = _metadata(model)
    side, letterbox = int(about["image_size"]), about["letterbox"] == "true"
    for picture in pictures[:: -(-len(pictures) // MOST)]:
        image = to_rgb(picture)
        yield normalised(Placement.of(image.shape, side, letterbox=letterbox).pixels(image))[None]
