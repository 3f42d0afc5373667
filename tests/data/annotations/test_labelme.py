"""What only labelme and YOLO have."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.annotated import SIZES, labelme_content, write_labelme, write_yolo
from support.defaults import data_with
from support.doctor_files import examined, found, message
from support.map_files import refused

from ipsam.data.sources import Source


def source(root: Path, spec: dict[str, Any], **options: Any) -> Source:
    return data_with(**{"image_size": 32, "root": root, "test": [spec]} | options).test_sets()["own"].source


def mask_with(root: Path, **shape: Any) -> np.ndarray:
    """Read b's mask, of one shape."""
    spec = write_labelme(root)
    shapes = [{"label": "cat", "group_id": None, "flags": {}} | shape]
    (root / "labelme/b.json").write_text(json.dumps(labelme_content("b") | {"shapes": shapes}))
    return source(root, spec).read(1, 0).mask


def encoded(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("centre", [(30.0, 20.0), (3.5, 38.0)], ids=["inside", "across the border"])
def test_circle_is_that_of_labelme_to_a_pixel(tmp_path: Path, centre: tuple[float, float]) -> None:
    """A centre and a point of the outline; labelme draws by Pillow, to which whole numbers are centres of pixels."""
    x, y = centre
    mask = mask_with(tmp_path, shape_type="circle", points=[[x, y], [x + 6, y - 8]])
    pillow = Image.new("L", SIZES["b"][::-1])
    ImageDraw.Draw(pillow).ellipse([x - 10, y - 10, x + 10, y + 10], fill=255, outline=255)
    drawn = np.pad(np.asarray(pillow), 2, "edge")
    outer, inner = (do(drawn, np.ones((3, 3), np.uint8))[2:-2, 2:-2] for do in (cv2.dilate, cv2.erode))
    assert (outer >= mask).all()
    assert (mask >= inner).all()
    columns, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(40) + 0.5)
    assert abs((mask > 0).sum() - (np.hypot(columns - x, rows - y) <= 10).sum()) < 12


def test_pixel_mask_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, (10, 20), dtype=np.uint8)
    mask = mask_with(tmp_path, shape_type="mask", points=[[7, 4], [26, 13]], mask=encoded(pixels))
    expected = np.zeros(SIZES["b"], np.uint8)
    expected[4:14, 7:27] = pixels * 255
    np.testing.assert_array_equal(mask, expected)


def test_embedded_image_is_read_where_there_is_no_file(tmp_path: Path) -> None:
    spec = write_labelme(tmp_path)
    expected = source(tmp_path, spec).read(1, 0)
    image = tmp_path / "labelme/b.png"
    content = labelme_content("b") | {"imagePath": "..\\gone\\b.png", "imageData": None}
    (tmp_path / "labelme/b.json").write_text(json.dumps(content))
    refused(lambda: source(tmp_path, spec), "gone/b.png: no such file", "exclude=[own/test/b]")
    content["imageData"] = base64.b64encode(image.read_bytes()).decode()
    (tmp_path / "labelme/b.json").write_text(json.dumps(content))
    image.unlink()
    for options in ({}, {"cache": tmp_path / "cache"}):
        embedded = source(tmp_path, spec, **options).read(1, 0)
        assert embedded.name == "b"
        np.testing.assert_array_equal(embedded.image, expected.image)
        np.testing.assert_array_equal(embedded.mask, expected.mask)
    diagnosis = examined(data_with(image_size=32, root=tmp_path, test=[spec]))
    assert found(diagnosis) == {"empty masks": "warning", "images without annotation to draw": "remark"}
    content["imageData"] = base64.b64encode(b"GIF89a").decode()
    (tmp_path / "labelme/b.json").write_text(json.dumps(content))
    refused(lambda: source(tmp_path, spec), "b.json (imageData): the image header can't be read", "own/test/b")


def test_images_may_lie_in_another_folder(tmp_path: Path) -> None:
    spec = write_labelme(tmp_path)
    expected = [source(tmp_path, spec).read(index, 0).mask for index in range(4)]
    (tmp_path / "moved").mkdir()
    for stem in SIZES:
        (tmp_path / f"labelme/{stem}.png").rename(tmp_path / f"moved/{stem}.png")
    refused(lambda: source(tmp_path, spec), "own/test: 4 of 4 pairs can't be read", "no such file")
    moved = source(tmp_path, spec | {"images": "moved"})
    for index, mask in enumerate(expected):
        np.testing.assert_array_equal(moved.read(index, 0).mask, mask)


def test_shape_of_another_category_may_be_a_point(tmp_path: Path) -> None:
    spec = write_labelme(tmp_path)
    content = labelme_content("b")
    content["shapes"].append({"label": "eye", "shape_type": "point", "points": [[1, 1]]})
    (tmp_path / "labelme/b.json").write_text(json.dumps(content))
    refused(lambda: source(tmp_path, spec), "shape 2 (eye) is a point, which has no area")
    assert source(tmp_path, spec | {"category": ["cat", "dog"]}).read(1, 0).mask.any()


def test_yolo_image_without_label_file_is_background_with_a_warning(tmp_path: Path, caplog: Any) -> None:
    spec = write_yolo(tmp_path)
    (tmp_path / "yolo/labels/b.txt").unlink()
    (tmp_path / "yolo/labels/classes.txt").write_text("dog\ncat\n")
    assert not source(tmp_path, spec).read(1, 0).mask.any()
    assert "1 of 4 images have no file of labels in" in caplog.text
    diagnosis = examined(data_with(image_size=32, root=tmp_path, test=[spec]))
    assert found(diagnosis)["images without file of labels"] == "warning"
    assert message(diagnosis, "images without file of labels").endswith("leave them out with exclude=[own/test/b]")


def test_photograph_turned_by_its_orientation_is_refused(tmp_path: Path) -> None:
    """YOLO's shares are those of the upright photograph, as tools show it, and images are read as stored."""
    spec = write_yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "yolo/images/b.png"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    path.unlink()
    Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=exif)
    refused(lambda: source(tmp_path, spec), "the mask fits the image only as turned by its EXIF orientation", "b.jpg 6")
