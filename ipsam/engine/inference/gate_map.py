"""The gate decision map of the paper's Fig. 4: one name and one colour scale wherever it is drawn."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

GATE_MAP = "Gate decision"  # its title
SUPPRESSED, UNAFFECTED = "suppressed", "unaffected"  # ends of its scale, 0 and 1


def gate_map(gate: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Draw PSG's gate (height, width) as RGB (height, width, 3).

    The colours show 1 - gate, the factor of the foreground prompt: from dark blue, 0, where the prompt is suppressed,
    to red, 1, where it is unaffected. Turbo has distinct colours in the middle, where most gates lie.
    """
    levels = np.rint((1 - gate) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)
