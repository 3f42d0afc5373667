"""Loading of a model for prediction by one call; an exported one needs no torch for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.exported_predictor import ExportedPredictor
from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.runs.exported_file import is_exported
from ipsam.engine.runs.plugins import trust

DEFAULT_MODEL = "lite"  # of ipsam.load, predict, demo, serve and export


def load(
    source: str | Path = DEFAULT_MODEL,
    *,
    device: Any = None,
    precision: str = "auto",
    base: str | Path | None = None,
    revision: str | None = None,
    fast: bool = True,
    compile: bool = False,
    plugins: Sequence[str] = (),
    **options: Any,
) -> BasePredictor:
    """Load a model for prediction.

    Args:
        source: a name, such as ``micro`` (``model_names`` lists them); a run's folder or one of its checkpoints; a
            folder written by ``save_pretrained``; a file of ``ipsam export`` (ONNX or OpenVINO); or a model's id on the
            Hugging Face Hub, such as ``name/model``.
        device, precision, fast, compile: of ``Predictor``. An exported file has its own precision and is compiled.
        base: file of the pretrained SAM2 weights; None takes the path in the model's configuration, searches
            ``checkpoints/`` and the cache, and otherwise downloads it once.
        revision: of a model on the Hub.
        plugins: your own packages whose classes the model names; they are imported.
        options: defaults of every prediction, see ``PredictionOptions``.

    Raises:
        ImportError: a model that is no exported file needs torch.
        FileNotFoundError: there is no such model.
        ValueError: it is damaged, not an ipsam model, or was trained on other pretrained weights; or an option is
            impossible.
    """
    chosen = PredictionOptions(**options)  # complain before the model is read
    path = Path(source).expanduser()
    if is_exported(path) and not path.is_dir():
        return ExportedPredictor(path, device=device, precision=precision, compile=compile, options=chosen)
    trust(plugins)
    try:
        from ipsam.engine.inference.predictor import load_folder
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{source}: any model but an exported file needs {error.name}: pip install -e '.[torch]'"
        ) from error
    how = {"device": device, "precision": precision, "fast": fast, "compile": compile}
    return load_folder(source, base=base, revision=revision, options=chosen, **how)
