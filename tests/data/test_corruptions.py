"""Corruptions are seeded by the image's name, and keep masks and sizes."""

from typing import Any

import numpy as np
import pytest

from ipsam.data import TestSet
from ipsam.data.corruptions import GROUPS, Corruption, chosen_corruptions, corrupted
from ipsam.data.sources import SyntheticSource
from ipsam.data.synthetic.scenes import camouflaged_scene

NAMES = [name for group in GROUPS.values() for name in group]
CLEAN = TestSet(SyntheticSource(2, 48, (0.0, 0.5), (0,)), image_size=64)


def test_severity_0_changes_no_bit() -> None:
    for name in NAMES:
        for index in range(len(CLEAN)):
            item, same = CLEAN[index], corrupted(CLEAN, Corruption(name, 0))[index]
            assert np.array_equal(item["image"], same["image"])
            assert np.array_equal(item["mask"], same["mask"])


@pytest.mark.usefixtures("untyped")
def test_unusable_choices_are_named() -> None:
    with pytest.raises(ValueError, match="corruptions: unknown 'fogg', perhaps fog; there are all, noise"):
        chosen_corruptions(["fogg"], [1])
    with pytest.raises(ValueError, match=r"severities are those of corruptions; set corruptions=all, or leave"):
        chosen_corruptions(None, [1])
    for names in (5, True, {"fog": 1}, []):
        with pytest.raises(ValueError, match=r"corruptions must be all, or a list of names such as .*, not "):
            chosen_corruptions(names, [1])
    severities: Any
    for severities in ([0], [6], [-1, 1], [], 3, ["1"], [[1]]):
        with pytest.raises(ValueError, match="severities must be a list of whole numbers from 1 to 5, not "):
            chosen_corruptions("all", severities)
    with pytest.raises(ValueError, match="dot: 31 x 64 pixels; images to corrupt need 32 on each side"):
        Corruption("fog", 1).apply(np.zeros((64, 31, 3), np.uint8), "dot")


@pytest.mark.slow  # the package takes five seconds to import
def test_an_image_is_corrupted_alike_in_any_order() -> None:
    pytest.importorskip("imagecorruptions")
    assert [str(one) for one in chosen_corruptions(["weather", "fog"], [1, 0, 3])][:3] == [
        "snow-1",
        "snow-3",
        "frost-1",
    ]
    assert len(chosen_corruptions("all", [1, 2, 3, 4, 5])) == 75
    image = camouflaged_scene(np.random.default_rng(0), size=64, difficulty=0.1).image[:37]
    for name in NAMES:
        for severity in (1, 5):
            corruption = Corruption(name, severity)
            before = np.random.get_state()[1].copy()
            first = corruption.apply(image, "a")
            assert np.array_equal(np.random.get_state()[1], before), name
            np.random.rand()
            other = corruption.apply(image, "b")
            assert np.array_equal(corruption.apply(image, "a"), first), name
            assert first.shape == image.shape
            assert first.dtype == np.uint8
            assert first.flags.writeable, name
            assert not np.array_equal(first, image), name
            is_random = name.endswith("noise") or name in ("glass_blur", "snow", "frost", "fog", "spatter")
            assert not is_random or not np.array_equal(first, other), name
