"""IP-SAM: prompt-space conditioning for prompt-absent camouflaged object detection.

Masks for your own images: ``ipsam.load("lite").predict("image.jpg")``.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ipsam.engine.inference.loading import load as load
    from ipsam.engine.inference.prediction import Prediction as Prediction
    from ipsam.engine.inference.predictor import Predictor as Predictor

_MODULES = {"load": "loading", "Predictor": "predictor", "Prediction": "prediction"}  # of ipsam.engine.inference


def __getattr__(name: str) -> Any:
    """Import lazily: torch takes seconds, which ``import ipsam`` alone should not."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ipsam.engine.inference.{_MODULES[name]}"), name)
