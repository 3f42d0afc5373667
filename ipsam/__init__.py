"""IP-SAM: prompt-space conditioning for prompt-absent camouflaged object detection.

Masks for your own images: ``ipsam.load("micro").predict("image.jpg")``.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ipsam.engine.inference.prediction import Result as Result
    from ipsam.engine.inference.predictor import Predictor as Predictor
    from ipsam.engine.inference.predictor import load as load

_PLACES = {"load": "predictor", "Predictor": "predictor", "Result": "prediction"}  # in ipsam.engine.inference


def __getattr__(name: str) -> Any:
    """Import torch and the rest when they are first needed, and not before."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ipsam.engine.inference.{_PLACES[name]}"), name)
