"""Position of a training run, and its scores so far."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from ipsam.engine.metrics import METRICS
from ipsam.utils.options import Options

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Score = int | Annotated[float, Field(allow_inf_nan=False)]


class Progress(Options):
    """Position of a run.

    Attributes:
        epoch: finished epochs.
        batch: this process's forward passes in the unfinished epoch.
        step: finished optimiser steps.
        skipped: number of these steps that were skipped, as a loss or the gradient was not finite.
        best, best_step: best score of the held-out part and its step; None before the first validation.
        history: all scores of the held-out part.
    """

    model_config = ConfigDict(frozen=False)

    epoch: Count = 0
    batch: Count = 0
    step: Count = 0
    skipped: Count = 0
    best: Score | None = None
    best_step: Count | None = None
    history: list[dict[str, Score]] = Field(
        default_factory=list, description="a list of scores by name, all finite numbers"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "Progress":
        if self.best_step is not None and self.best_step > self.step:
            raise ValueError(f"best_step must be from 0 to {self.step}, not {self.best_step}")
        return self

    def add_scores(self, scores: Mapping[str, float], metric: str) -> bool:
        """Add scores of the held-out part; return whether they are the best so far in ``metric``."""
        self.history.append({"epoch": self.epoch, **scores})
        sign = METRICS[metric].sign
        if self.best is not None and sign * scores[metric] <= sign * self.best:
            return False
        self.best, self.best_step = scores[metric], self.step
        return True
