"""ONNX and OpenVINO files that ``ipsam export`` wrote, in place of a model's folder: their runtimes compute the logits.

Neither this module nor a prediction by such a file imports torch.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipsam import __version__
from ipsam.data.placement import check_input
from ipsam.utils.files import open_regular
from ipsam.utils.worker_pool import num_cpus

MAX_BYTES = 1 << 31  # of an ONNX file in one piece
OTHERS = "session.model_external_initializers_file_folder_path"  # by default the current folder
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # those of onnxruntime that it has are used, in order
IR = ".xml"  # OpenVINO's; the weights are in a .bin file beside it
ABOUT = "framework"  # where OpenVINO keeps the metadata of the ONNX file that an IR was made of
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}  # OpenVINO's precision for what is not quantised
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Session(NamedTuple):
    """An exported file in its runtime: metadata, device (``cuda`` or ``cpu``), and the function of its logits."""

    about: Mapping[str, str]
    device: str
    logits: Logits


def is_exported(model: Path) -> bool:
    """Return whether the path of a model is that of an ONNX or OpenVINO file rather than of a folder."""
    return model.suffix.lower() in (".onnx", IR)


def weights_of(path: Path) -> Path:
    """Return the file with the weights of an exported file."""
    return path.with_suffix(".bin") if path.suffix.lower() == IR else path


def describe(path: Path) -> dict[str, Any]:
    """Describe an exported file as ``read_description`` does a folder; the section ``model`` is empty.

    Raises:
        ImportError: its runtime is not installed.
        ValueError: the file is damaged, or ``ipsam export`` did not write it.
        OSError: it cannot be read.
    """
    about = {"letterbox": "false", **_session(path).about}
    try:
        size, letterbox = (json.loads(about[name][:9]) for name in ("image_size", "letterbox"))
    except (KeyError, ValueError):
        raise ValueError(f"{path} holds no image_size and letterbox: only files of ipsam export can be used") from None
    description = {"ipsam": __version__, "name": path.stem, "image_size": size, "letterbox": letterbox, "model": {}}
    check_input(description, path)
    return description


def logits_of(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the logits (b, 1, hm, wm) of normalised images (b, 3, image_size, image_size) by an exported file."""
    return _session(path).logits(images)


def device_of(path: Path) -> str:
    """Return where an exported file is computed: ``cuda`` or ``cpu``."""
    return _session(path).device


def _session(path: Path) -> Session:
    return _opened(path, weights_of(path).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _opened(path: Path, changed: int) -> Session:  # noqa: ARG001 (of a changed file there is another session)
    torch, limit = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    num_threads = int(limit) if limit.isdecimal() else num_cpus()
    if torch:
        num_threads = torch.get_num_threads()  # a command may set torch's
    return (_open_ir if path.suffix.lower() == IR else _open_onnx)(path, num_threads)


def _open_onnx(path: Path, num_threads: int) -> Session:
    """Load a file of at most ``MAX_BYTES`` as bytes, which cannot name other files as its weights."""
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(f"{path}: ONNX files need onnxruntime: pip install -e '.[onnx]'") from None
    with open_regular(path) as file:
        content = file.read(MAX_BYTES)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 4  # fatal errors; others are raised
    options.add_session_config_entry(OTHERS, os.devnull)  # where no file can be
    available = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(content, options, [one for one in PROVIDERS if one in available])
    except Exception as error:  # onnxruntime has a class for each kind, without a common base
        raise _damaged(path, "an ONNX file with its weights inside", error) from None
    device = str(session.get_providers()[0]).removesuffix("ExecutionProvider").lower()
    about = session.get_modelmeta().custom_metadata_map
    return Session(about, device, lambda images: np.asarray(session.run(["logits"], {"image": images})[0]))


def _open_ir(path: Path, num_threads: int) -> Session:
    """Load a file that begins as XML: OpenVINO reads ONNX too, which may name other files as its weights."""
    try:
        import openvino
    except ImportError:
        raise ImportError(f"{path}: OpenVINO files need openvino: pip install -e '.[openvino]'") from None
    with open_regular(path) as graph, open_regular(weights_of(path)) as weights:
        content = graph.read(MAX_BYTES), weights.read(MAX_BYTES)
    kind = "an OpenVINO file with its weights beside it"
    if not content[0].startswith(b"<?xml"):
        raise _damaged(path, kind, ValueError("it is no XML"))
    core = openvino.Core()
    try:
        model = core.read_model(*content)
        held = model.get_rt_info(ABOUT).astype(dict) if model.has_rt_info(ABOUT) else {}
        about = {name: value.astype(str) for name, value in held.items()}
        how = {"INFERENCE_PRECISION_HINT": HINTS.get(about.get("precision", ""), "f32"), "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(model, "CPU", {**how, "INFERENCE_NUM_THREADS": num_threads})
    except Exception as error:  # most are RuntimeError
        raise _damaged(path, kind, error) from None
    # A request of its own for each call: threads would get each other's logits from a shared one.
    return Session(about, "cpu", lambda images: np.array(compiled.create_infer_request().infer(images)["logits"]))


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return ValueError(f"{path} is damaged or not {kind}: {reason:.200}")
