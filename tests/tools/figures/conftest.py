"""A model whose every part has an effect, and an image that is not square."""

import numpy as np
import pytest
import torch
from support.builders import micro_model, randomise
from support.defaults import settings_with

from ipsam.data.sources import Sample
from ipsam.tools.figures.view import FigureModel


@pytest.fixture
def subject() -> FigureModel:
    torch.manual_seed(1)
    model = micro_model().eval()
    randomise(model, scale=0.15)
    return FigureModel(model, 64, settings_with(cpu=True, precision="fp32"))


@pytest.fixture
def sample() -> Sample:
    """40 x 70, with a mask of 200 pixels."""
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    mask = np.zeros((40, 70), np.uint8)
    mask[10:20, 30:50] = 255
    return Sample("a", image, mask)
