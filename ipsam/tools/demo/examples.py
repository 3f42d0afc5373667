"""Generated example images, which need no download and no licence."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.data.user_images import to_rgb
from ipsam.tools.demo.html_images import embedded

SIZE, THUMBNAIL = 512, 160  # pixels a side
EXAMPLES = {"easy": (0.0, 2), "medium": (0.25, 5), "hard": (0.5, 3), "hidden": (0.9, 0)}  # name: difficulty, seed


def write_examples(folder: Path) -> dict[str, Path]:
    """Draw the examples into a new folder; return their files by name."""
    folder.mkdir(parents=True)
    files = {}
    for name, (difficulty, seed) in EXAMPLES.items():
        scene = camouflaged_scene(np.random.default_rng(seed), size=SIZE, difficulty=difficulty)
        files[name] = folder / f"{name}.png"
        Image.fromarray(scene.image).save(files[name])
    return files


def thumbnails(files: dict[str, Path]) -> str:
    """Return an HTML button for each example, with its name as ``data-name``."""
    buttons = []
    for name, file in files.items():
        small = cv2.resize(to_rgb(file), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        buttons.append(f'<button type="button" data-name="{name}">{embedded(small, "", photo=True)}{name}</button>')
    group = f'<div class="examples" role="group" aria-labelledby="examples">{"".join(buttons)}</div>'
    return f'<p id="examples">Or a generated example:</p>{group}'
