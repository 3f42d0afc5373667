"""An exported model by onnxruntime, numpy and Pillow alone: python scripts/predict_onnx.py MODEL.onnx IMAGE MAP.png."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow's other readers run programs, or are rarely checked


def resize(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres aligned, from (h, w) to (height, width): as torch's align_corners=False."""
    for axis, size in enumerate((height, width)):
        place = np.clip((np.arange(size) + 0.5) * grid.shape[axis] / size - 0.5, 0, grid.shape[axis] - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        weight = np.expand_dims((place - low).astype(np.float32), 1 - axis)
        grid = grid.take(low, axis) * (1 - weight) + grid.take(high, axis) * weight
    return grid


def main(model: str, source: str, target: str) -> None:
    """Read, normalise, run, resize, write."""
    session = onnxruntime.InferenceSession(model)
    about = session.get_modelmeta().custom_metadata_map
    size, mean, std = int(about["image_size"]), *(np.float32(json.loads(about[key])) for key in ("mean", "std"))
    letterbox = json.loads(about.get("letterbox", "false"))
    image = ImageOps.exif_transpose(Image.open(source, formats=FORMATS))  # noqa: TID251 (no ipsam here)
    if image.mode.startswith("I"):  # 16 bits, of which convert would not take the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    width, height = (max(1, round(size * side / max(image.size))) if letterbox else size for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    square = Image.new("RGB", (size, size), tuple(round(255 * value) for value in mean.tolist()))  # around the image
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    pixels = np.float32(square) / 255
    (logits,) = session.run(None, {"image": ((pixels - mean) / std).transpose(2, 0, 1)[None]})
    grid = logits[0, 0]
    if (height, width) != (size, size):
        grid = resize(grid, size, size)[top : top + height, left : left + width]
    prob = 1 / (1 + np.exp(-resize(grid, image.height, image.width)))
    Image.fromarray(np.rint(prob * 255).astype(np.uint8)).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
