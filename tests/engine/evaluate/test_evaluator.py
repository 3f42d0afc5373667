import csv
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.builders import micro_model
from support.saved_maps import read_metrics
from torch import Tensor, nn

from ipsam.data import TestSet
from ipsam.data.sources import Sample, Source, SyntheticSource
from ipsam.engine.evaluate.evaluator import evaluate, evaluate_constant
from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.engine.evaluate.scores import Evaluation, Scored
from ipsam.engine.inference.forward import to_map
from ipsam.engine.metrics import METRICS, ImageScores, Protocol, measure
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.imagenet import normalise
from ipsam.utils.shards import Shard

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Uneven(Source):
    """Scenes of different sizes."""

    sizes: Sequence[tuple[int, int]] = ((40, 60), (64, 64), (81, 33), (64, 48), (50, 50))

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, index: int, epoch: int) -> Sample:
        scene = SyntheticSource(len(self), 64, (0.0, 0.1), (0,)).read(index, epoch)
        size = self.sizes[index][::-1]
        mask = cv2.resize(scene.mask, size, interpolation=cv2.INTER_NEAREST)
        return Sample(f"image{index}", cv2.resize(scene.image, size), mask)


class Recorded(Segmenter):
    """Stand-in for a model; its logits are the image's brightness, (b, 1, 16, 16)."""

    def forward(self, image: Tensor) -> IPSAMOutput:
        logits = nn.functional.avg_pool2d(image.mean(1, keepdim=True), 4) * 3
        return IPSAMOutput(logits, logits)


class Oracle(Recorded):
    """Return the mask that it receives, with a remark on tall ones."""

    oracle = True

    def forward(self, image: Tensor, masks: list[Tensor]) -> IPSAMOutput:
        shown = [nn.functional.interpolate(mask[None, None] * 40.0 - 20, (64, 64)) for mask in masks]
        remarks = ["tall" if mask.shape[0] > mask.shape[1] else "" for mask in masks]
        return IPSAMOutput(torch.cat(shown), torch.cat(shown), remarks=remarks)


def mean_scores(images: Sequence[ImageScores]) -> dict[str, float]:
    scored = Scored()
    for number, image in enumerate(images):
        scored.add(str(number), image)
    return scored.means()[0]


@pytest.fixture(scope="module")
def uneven() -> TestSet:
    return TestSet(Uneven(), image_size=64)


@pytest.mark.parametrize(
    ("logits", "size", "expected"),
    [
        ([[-100.0, 0.0, 100.0]], (1, 3), [[0, 128, 255]]),
        # p = 0.4, 0.6, 100.4, 100.6 and 254.6 of 255
        ([[-6.4560, -6.0498, -0.4317, -0.4284, 6.4560]], (1, 5), [[0, 1, 100, 101, 255]]),
        ([[-4.0, 2.0]], (1, 4), [[round(255 / (1 + np.exp(-value))) for value in (-4.0, -2.5, 0.5, 2.0)]]),
    ],
    ids=["limits", "rounded, not truncated", "resized before the sigmoid"],
)
def test_maps_by_hand(logits: Any, size: tuple[int, int], expected: Any) -> None:
    assert to_map(torch.tensor([logits]), size).tolist() == expected


def test_letterboxed_maps_and_truth_lie_where_the_image_does(uneven: TestSet, tmp_path: Path) -> None:
    """An oracle that returns the mask it gets, and a model that returns the brightness."""
    letterboxed = TestSet(Uneven(), image_size=64, letterbox=True)
    truth = evaluate(Oracle(), {"set": letterboxed}, device=CPU, batch_size=5, maps=tmp_path / "truth")
    assert truth.datasets["set"]["mae"] < 0.02
    for kind, sets in (("square", uneven), ("padded", letterboxed)):
        evaluate(Recorded(), {"set": sets}, device=CPU, batch_size=2, maps=tmp_path / kind)
    for index, size in enumerate(Uneven.sizes):
        square, padded = (
            cv2.imread(str(tmp_path / kind / "set" / f"image{index}.png"), cv2.IMREAD_UNCHANGED).astype(int)
            for kind in ("square", "padded")
        )
        assert square.shape == padded.shape == size
        assert np.array_equal(square, padded) == (size[0] == size[1])
        assert np.abs(square - padded)[4:-4, 4:-4].mean() < square.std() / 2


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_scores_depend_on_neither_batch_size_nor_workers(uneven: TestSet, batch_size: int, num_workers: int) -> None:
    one = evaluate(Recorded(), {"set": uneven}, device=CPU)
    other = evaluate(Recorded(), {"set": uneven}, device=CPU, batch_size=batch_size, num_workers=num_workers)
    assert one == other


def test_batch_size_changes_scores_by_rounding_only(uneven: TestSet) -> None:
    model = micro_model()
    one, two, again = (
        evaluate(model, {"set": uneven}, device=CPU, batch_size=size, num_workers=workers).datasets["set"]
        for size, workers in ((1, 0), (2, 0), (2, 1))
    )
    assert two == again
    assert one == pytest.approx(two, abs=1e-3)


def test_bf16_is_used_on_request(uneven: TestSet) -> None:
    autocast = []

    class Watched(Recorded):
        def forward(self, image: Tensor) -> Any:
            autocast.append(torch.is_autocast_enabled("cpu"))
            return super().forward(image)

    for bf16 in (False, True):
        evaluate(Watched(), {"set": uneven}, device=CPU, batch_size=5, bf16=bf16)
    assert autocast == [False, True]


def test_the_protocol_decides_on_size_and_number_format(uneven: TestSet, tmp_path: Path) -> None:
    """Metrics receive the model's output without earlier rounding or resizing."""
    for protocol, maps in ((Protocol(eight_bit=False), None), (Protocol(size=24), tmp_path)):
        evaluation = evaluate(Recorded(), {"set": uneven}, device=CPU, protocol=protocol, num_workers=1, maps=maps)
        images = []
        for index in range(5):
            item = uneven[index]
            logits = Recorded()(normalise(item["image"][None])).logits[0]
            size = (24, 24) if protocol.size else item["mask"].shape
            images.append(measure(to_map(logits, size, eight_bit=protocol.eight_bit).numpy(), item["mask"], protocol))
        assert evaluation.datasets["set"] == {"num_images": 5, **mean_scores(images)}
        assert evaluation.protocol == protocol
    assert cv2.imread(str(tmp_path / "set" / "image0.png"), cv2.IMREAD_UNCHANGED).shape == (24, 24)


def test_logits_that_are_not_finite_are_an_error(uneven: TestSet) -> None:
    class Diverged(Recorded):
        def forward(self, image: Tensor) -> Any:
            output = super().forward(image)
            output.logits[-1, 0, 3, 3] = torch.nan
            return output

    with pytest.raises(ValueError, match="image4: the model's logits are not finite; its training has diverged"):
        evaluate(Diverged(), {"set": uneven}, device=CPU, batch_size=5)


def test_maps_are_saved_under_their_images_stem(uneven: TestSet, tmp_path: Path) -> None:
    evaluation = evaluate(Recorded(), {"one": uneven, "two": uneven}, device=CPU, batch_size=2, maps=tmp_path / "maps")
    saved = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert saved == [f"maps/{name}/image{index}.png" for name in ("one", "two") for index in range(5)]
    images = []
    for index in range(5):  # what was saved is what was scored
        sample = uneven.source.read(index, epoch=0)
        written = cv2.imread(str(tmp_path / f"maps/two/image{index}.png"), cv2.IMREAD_UNCHANGED)
        assert written.shape == sample.mask.shape
        images.append(measure(written, sample.mask, Protocol()))
    assert mean_scores(images).items() <= evaluation.datasets["two"].items()


def test_metrics_and_per_image_files(uneven: TestSet, tmp_path: Path) -> None:
    evaluation = evaluate(Recorded(), {"one": uneven, "two": uneven}, device=CPU)
    evaluation.write(tmp_path / "new" / "eval")
    content = json.loads((tmp_path / "new" / "eval" / "metrics.json").read_text())
    assert list(content) == ["protocol", "datasets"]
    assert content["protocol"] == Protocol().describe()
    assert list(content["datasets"]) == ["one", "two"]
    for scores in content["datasets"].values():
        assert tuple(scores) == (
            *("num_images", "mae", "fw", "sm", "em", "em_adp", "em_max", "f", "f_adp", "f_max"),
            *("mdice", "miou", "dice_50", "iou_50"),
        )
        assert scores["num_images"] == 5
    assert content["datasets"] == evaluation.datasets  # to the bit

    with (tmp_path / "new" / "eval" / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["name"]) for row in rows] == [
        (name, f"image{index}") for name in ("one", "two") for index in range(5)
    ]
    assert list(rows[0]) == ["dataset", "name", *METRICS]
    assert len((tmp_path / "new" / "eval" / "curves.csv").read_text().splitlines()) == 1 + 2 * 256
    mean = np.mean([float(row["mae"]) for row in rows[:5]])
    assert mean == pytest.approx(evaluation.datasets["one"]["mae"])


def test_images_left_out_of_a_set_are_told(uneven: TestSet, tmp_path: Path) -> None:
    source = Uneven()
    object.__setattr__(source, "left_out", {"by exclude": ["x", "y"]})
    sets = {"one": TestSet(source, image_size=64), "two": uneven}
    for evaluation in (evaluate(Recorded(), sets, device=CPU), evaluate_constant(sets)):
        evaluation.write(tmp_path)
        content = read_metrics(tmp_path / "metrics.json")
        assert content["left_out"] == {"one": {"by exclude": ["x", "y"]}}
        assert content["datasets"]["one"]["num_left_out"] == 2
        assert evaluation.notes()[0] == "one: only 5 of 7 images are scored, 2 by exclude: x, y"
    with (tmp_path / "per_image.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file) if row["left_out"] == "by exclude"] == ["x", "y"]


def test_constant_map_gives_the_best_grey_per_metric() -> None:
    masks = [np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)]
    masks[0][:2], masks[1][:4] = 255, 255  # a quarter and a half

    class Given(Source):
        def __len__(self) -> int:
            return 2

        def read(self, index: int, epoch: int) -> Sample:
            return Sample(str(index), np.zeros((8, 8, 3), np.uint8), masks[index])

    scores = evaluate_constant({"set": TestSet(Given(), image_size=64)}).datasets["set"]
    assert tuple(scores) == ("num_images", *METRICS)
    assert scores["num_images"] == 2
    assert scores["mae"] == pytest.approx((0.25 + 0.5) / 2)  # black's; white errs on the rest
    assert scores["dice_50"] == pytest.approx((2 * 16 / (64 + 16) + 2 * 32 / (64 + 32)) / 2)  # white's; black scores 0
    results = []
    for value in (0, 64, 128, 191, 255):
        images = [measure(np.full_like(mask, value), mask, Protocol()) for mask in masks]
        results.append(mean_scores(images))
    for metric in METRICS:
        assert scores[metric] == (min if metric == "mae" else max)(result[metric] for result in results)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_shards_unite_to_the_files_of_the_whole(uneven: TestSet, tmp_path: Path, batch_size: int) -> None:
    """Five images in four shards, of which the first may have two and the last none, in any order."""
    sets, model = {"one": uneven, "two": uneven}, micro_model()
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    how: dict[str, Any] = {"device": CPU, "batch_size": batch_size}
    evaluate(model, sets, **how, maps=whole / "maps").write(whole)
    for index in (2, 0, 3, 1):
        parts = Parts.of(shared, Shard(index, 4))
        with nullcontext() if index == 1 else pytest.raises(ShardsMissingError, match=r"without scores: .*2/4"):
            evaluate(model, sets, **how, maps=shared / "maps", parts=parts).write(shared)
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(names) == 3 + 2 * 5
    assert all((shared / name).read_bytes() == (whole / name).read_bytes() for name in names)


def test_no_test_set_gives_no_scores(tmp_path: Path) -> None:
    evaluation = evaluate(Recorded(), {}, device=CPU)
    assert evaluation == Evaluation()
    evaluation.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_oracle_receives_masks_and_remarks_are_counted(uneven: TestSet, tmp_path: Path) -> None:
    evaluation = evaluate(Oracle(), {"set": uneven}, device=CPU, batch_size=2, num_workers=1)
    assert evaluation.remarks == {"set": {"tall": 2}}
    assert evaluation.datasets["set"]["miou"] > 0.8
    evaluation.write(tmp_path)
    assert read_metrics(tmp_path / "metrics.json")["remarks"] == {"set": {"tall": 2}}
    assert evaluate(Recorded(), {"set": uneven}, device=CPU).remarks == {}
