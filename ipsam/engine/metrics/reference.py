"""Metrics that PySODMetrics itself computes; it is an extra and takes seconds to import."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.statistics import Vector

MODULE = "py_sod_metrics"
EXTRA = "metrics"  # in pyproject.toml


def check_installed(metric: str, module: str) -> None:
    """Check that the module is there that a metric needs; ValueError names both."""
    if find_spec(module) is None:
        raise ValueError(f"metrics=[{metric}] needs the package {module}: pip install -e '.[{EXTRA}]'")


def by_pysodmetrics(make: Callable[[Any], Any], values: Vector, foreground: NDArray[np.uint8]) -> Any:
    """Return the results of one of PySODMetrics' classes on one image.

    Args:
        make: makes an instance, given the module.
        values: normalised prediction (h, w).
        foreground: mask (h, w) of 0 and 1.

    Raises:
        ValueError: the metric has no value for this mask.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy's functions that are to go, and of divisions by 0
        import py_sod_metrics

        metric = make(py_sod_metrics)
        try:
            metric.step(values, foreground.astype(np.bool_), normalize=False)
        except np.linalg.LinAlgError as error:  # of Context-measure
            raise ValueError(
                f"{type(metric).__name__} has no value for a mask whose pixels lie on one line ({error}); leave out "
                "the metric or the image"
            ) from error
        return metric.get_results()
