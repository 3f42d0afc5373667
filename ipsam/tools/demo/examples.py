"""Example images: drawn ones, which need no download and no licence, or the user's own."""

import html
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ipsam.data.files import image_files
from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.data.user_images import to_rgb
from ipsam.tools.demo.html_images import embedded

SIZE, THUMBNAIL = 512, 160  # pixels a side
MAX_OWN = 8  # pictures of the user's
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


def copy_examples(source: Path, folder: Path) -> dict[str, Path]:
    """Copy the first ``MAX_OWN`` pictures of a folder, by name, into a new folder; return their files by name.

    Raises:
        ValueError: the folder holds no pictures, or cannot be read.
    """
    files = image_files(source)[:MAX_OWN] if source.is_dir() else []
    if not files:
        raise ValueError(f"examples={source}: no pictures there; name a folder of JPEG, PNG or other pictures")
    folder.mkdir(parents=True)
    return {file.name: Path(shutil.copyfile(file, folder / file.name)) for file in files}


def thumbnails(files: dict[str, Path]) -> str:
    """Return an HTML button for each example, with its name as ``data-name``.

    Raises:
        ValueError, OSError: an example is broken; with its path.
    """
    buttons = []
    for file_name, file in files.items():
        image, name = to_rgb(file), html.escape(file_name)
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        small = cv2.resize(square, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        label = html.escape(Path(file_name).stem)
        buttons.append(f'<button type="button" data-name="{name}">{embedded(small, "", photo=True)}{label}</button>')
    group = f'<div class="examples" role="group" aria-labelledby="examples">{"".join(buttons)}</div>'
    return f'<p id="examples">Or an example:</p>{group}'
