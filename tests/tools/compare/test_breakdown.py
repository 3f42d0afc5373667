from pathlib import Path

import cv2
import numpy as np
import pytest
from support.saved_maps import save, scored

from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.tools.compare.breakdown import Traits, contrast, group_rows, measure_traits

CLASSES = {"superclass": "Aquatic", "subclass": "BatFish"}


def test_traits_of_an_image(tmp_path: Path) -> None:
    mask, image = np.zeros((100, 200), np.uint8), np.full((50, 100, 3), 90, np.uint8)
    mask[10:30, 20:60] = mask[60:100, 150:180] = 255
    mask[50, 5] = 255  # a speck
    image[5:15, 10:30] = image[30:50, 75:90] = (200, 60, 60)
    name = "COD10K-CAM-1-Aquatic-1-BatFish-2"
    save(tmp_path / "mask.png", mask)
    save(tmp_path / "image.png", image)
    traits = measure_traits([SavedMap(name, tmp_path, tmp_path / "mask.png", tmp_path / "image.png")], 0)[name]
    assert (traits.size, traits.objects, traits.border) == (2001 / 20000, 2, 1)
    assert (traits.superclass, traits.subclass) == ("Aquatic", "BatFish")
    lab = cv2.cvtColor(np.float32([[(90, 90, 90), (200, 60, 60)]]) / 255, cv2.COLOR_RGB2LAB)[0]
    assert traits.contrast == pytest.approx(np.linalg.norm(lab[0] - lab[1]), rel=0.1)
    groups = [traits.group(by) for by in ("size", "objects", "contrast", "border", "superclass", "subclass")]
    assert groups == ["5 to 15%", "2", "over 20", "touching", "Aquatic", "Aquatic: BatFish"]

    save(tmp_path / "mask.png", mask * 0)
    empty = Traits.of(SavedMap("a", tmp_path, tmp_path / "mask.png", tmp_path / "none.png"))
    assert empty == Traits(0, 0, 0, None)
    assert [empty.group(by) for by in ("objects", "contrast", "subclass")] == ["none", None, None]
    assert contrast(image, mask | 255) is None  # no surroundings


def test_groups_have_the_means_of_their_images() -> None:
    traits = {"a": Traits(0.001, 1, 0, 3.0), "b": Traits(0.5, 1, 1, None), "c": Traits(0.6, 3, 1, 30.0, **CLASSES)}
    images = {"CAMO": scored({name: {"sm": score} for name, score in (("a", 0.1), ("b", 0.4), ("c", 0.6))})}
    methods = {"One": Evaluation(images=images), "Two": Evaluation(images={"CAMO": scored({"b": {"sm": 0.9}})})}
    found = {
        (row["by"], row["group"], row["method"]): (row["images"], row["sm"])
        for row in group_rows("CAMO", traits, methods)
    }
    assert found["size", "over 30%", "One"] == (2, 0.5)
    assert found["size", "over 30%", "Two"] == (1, 0.9)
    assert found["contrast", "under 5", "One"] == (1, 0.1)
    assert found["subclass", "Aquatic: BatFish", "One"] == (1, 0.6)
    assert [group for by, group, method in found if by == "size" and method == "One"] == ["under 1%", "over 30%"]
    assert ("superclass", "Aquatic", "Two") not in found
