"""ONNX files that ``ipsam export`` wrote, in place of a model's folder: onnxruntime computes the logits.

Neither this module nor a prediction by such a file imports torch.
"""

import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam import __version__
from ipsam.data.placement import check_input
from ipsam.utils.files import open_regular
from ipsam.utils.worker_pool import num_cpus

MAX_BYTES = 1 << 31  # of an ONNX file in one piece
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # those of onnxruntime that it has are used, in order


def is_onnx(model: Path) -> bool:
    """Return whether the path of a model is that of an ONNX file rather than of a folder."""
    return model.suffix.lower() == ".onnx"


def describe(path: Path) -> dict[str, Any]:
    """Describe an ONNX file as ``read_description`` does a folder; the section ``model`` is empty.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the file is damaged, or ``ipsam export`` did not write it.
        OSError: it cannot be read.
    """
    about = {"letterbox": "false", **_session(path, path.stat().st_mtime_ns).get_modelmeta().custom_metadata_map}
    try:
        size, letterbox = (json.loads(about[name][:9]) for name in ("image_size", "letterbox"))
    except (KeyError, ValueError):
        raise ValueError(f"{path} holds no image_size and letterbox: only files of ipsam export can be used") from None
    description = {"ipsam": __version__, "name": path.stem, "image_size": size, "letterbox": letterbox, "model": {}}
    check_input(description, path)
    return description


def logits_of(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the logits (b, 1, hm, wm) of normalised images (b, 3, image_size, image_size) by an ONNX file."""
    (logits,) = _session(path, path.stat().st_mtime_ns).run(["logits"], {"image": images})
    return np.asarray(logits)


def device_of(path: Path) -> str:
    """Return where onnxruntime computes a file: ``cuda`` or ``cpu``."""
    first = _session(path, path.stat().st_mtime_ns).get_providers()[0]
    return str(first).removesuffix("ExecutionProvider").lower()


@lru_cache(maxsize=1)
def _session(path: Path, changed: int) -> Any:  # noqa: ARG001 (of a changed file there is another session)
    """Load a file of at most ``MAX_BYTES`` as bytes, so that it cannot name other files as its weights."""
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(f"{path}: ONNX files need onnxruntime: pip install -e '.[onnx]'") from None
    with open_regular(path) as file:
        content = file.read(MAX_BYTES)
    options = onnxruntime.SessionOptions()
    torch, limit = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    num_threads = int(limit) if limit.isdecimal() else num_cpus()
    options.intra_op_num_threads = torch.get_num_threads() if torch else num_threads  # a command may set torch's
    options.log_severity_level = 4  # fatal errors; others are raised
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(content, options, [one for one in PROVIDERS if one in available])
    except Exception as error:  # onnxruntime has a class for each kind, without a common base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is damaged or not an ONNX file with its weights inside: {reason:.200}") from None
