"""An exported model by onnxruntime, numpy and Pillow alone: python scripts/predict_onnx.py MODEL.onnx IMAGE MAP.png."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow's other readers run programs, or are rarely checked


def resize(grid: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bilinear between pixel centres, without antialiasing: as torch's align_corners=False."""
    steps = (grid.width / size[0], 0, 0, 0, grid.height / size[1], 0)
    return grid.transform(size, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)


def main(model: str, source: str, target: str) -> None:
    """Read, normalise, run, resize, write."""
    session = onnxruntime.InferenceSession(model)
    about = {"letterbox": "false"} | session.get_modelmeta().custom_metadata_map
    size, letterbox, mean, std = (json.loads(about[key]) for key in ("image_size", "letterbox", "mean", "std"))
    image = ImageOps.exif_transpose(Image.open(source, formats=FORMATS))  # noqa: TID251 (no ipsam here)
    if image.mode.startswith("I"):  # 16 bits, of which convert would not take the upper 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    width, height = (max(1, round(size * side / max(image.size))) if letterbox else size for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    square = Image.new("RGB", (size, size), tuple(round(255 * value) for value in mean))  # around the image
    square.paste(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), (left, top))
    pixels = (np.float32(square) / 255 - np.float32(mean)) / np.float32(std)
    grid = Image.fromarray(session.run(None, {"image": pixels.transpose(2, 0, 1)[None]})[0][0, 0])
    if (width, height) != (size, size):
        grid = resize(grid, (size, size)).crop((left, top, left + width, top + height))
    prob = 1 / (1 + np.exp(-np.asarray(resize(grid, image.size))))
    Image.fromarray(np.rint(prob * 255).astype(np.uint8)).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
