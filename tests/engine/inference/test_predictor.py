"""``ipsam.load`` and ``predict`` take any image and give the map of the evaluation."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.builders import micro_model, randomise
from support.defaults import data_with

import ipsam
from ipsam.engine.evaluate.evaluator import evaluate
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.checkpoint import load_weights
from ipsam.engine.runs.configuration import build_model, read_config
from ipsam.model import LoRA
from ipsam.model.baselines import SAM2, NullPrompt, OraclePoint


def test_all_kinds_of_input_agree(predictor: Predictor, picture: np.ndarray, tmp_path: Path) -> None:
    expected = predictor.predict(picture)
    assert expected.prob.shape == (70, 90)
    assert expected.prob.dtype == np.float32
    assert 0 < expected.prob.min() < expected.prob.max() < 1
    Image.fromarray(picture).save(tmp_path / "a.png")
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    with_alpha = np.dstack([picture, np.full((70, 90), 7, np.uint8)])
    for same in (
        *(tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture), tensor, tensor / 255),
        *(with_alpha, Image.fromarray(with_alpha)),
    ):
        result = predictor.predict(same)
        assert np.array_equal(result.prob, expected.prob)
        assert np.array_equal(result.image, picture)
    grey = picture[..., 0]
    expected = predictor.predict(np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for same in (grey, grey[..., None], Image.fromarray(grey), tmp_path / "grey.png", torch.from_numpy(grey)[None]):
        assert np.array_equal(predictor.predict(same).prob, expected.prob)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    predictor: Predictor, picture: np.ndarray, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    result = predictor.predict(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as opened:
        again = predictor.predict(opened)
    assert np.array_equal(result.image, again.image)
    assert result.image.shape[:2] == ((70, 90) if orientation < 5 else (90, 70)) == result.prob.shape
    assert np.array_equal(result.prob, predictor.predict(result.image).prob)
    assert np.array_equal(result.image, picture) == (orientation == 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 64), (513, 40)])
def test_any_size_is_kept(predictor: Predictor, size: tuple[int, int]) -> None:
    result = predictor.predict(np.full((*size, 3), 90, np.uint8))
    assert result.prob.shape == result.mask.shape == result.map.shape == size
    assert result.prompts.fg.shape == result.prompts.bg.shape == result.gate.shape == size
    assert result.overlay().size == result.cutout().size == size[::-1]


def test_stream_reads_at_most_one_batch_ahead(predictor: Predictor, picture: np.ndarray) -> None:
    read: list[int] = []

    def pictures() -> Any:
        for index in range(7):
            read.append(index)
            yield picture[index:]

    results = []
    for result in predictor.stream(pictures(), batch_size=2):
        results.append(result)
        assert len(read) == min(7, 2 * (-(-len(results) // 2)) + 2)
    for index, result in enumerate(results):
        np.testing.assert_allclose(result.prob, predictor.predict(picture[index:]).prob, atol=1e-5)
    assert predictor.predict([]) == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_stream_yields_all_before_a_broken_image(predictor: Predictor, picture: np.ndarray, batch_size: int) -> None:
    results = predictor.stream([picture, picture[:40], picture[:50], "missing.png", picture], batch_size=batch_size)
    assert [next(results).prob.shape[0] for _ in range(3)] == [70, 40, 50]
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        next(results)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_stream_continues_after_broken_images(
    predictor: Predictor, picture: np.ndarray, tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    images = ["missing.png", picture, picture[:40], tmp_path / "broken.png", tmp_path, picture[:50], "missing.png"]
    results = list(predictor.stream(images, batch_size=batch_size, return_exceptions=True))
    kinds = [type(result).__name__ for result in results]
    found, missing, broken = "Prediction", "FileNotFoundError", "ValueError"
    assert kinds == [missing, found, found, broken, broken, found, missing]
    assert [results[index].prob.shape[0] for index in (1, 2, 5)] == [70, 40, 50]
    assert "broken.png" in str(results[3])
    assert [type(one) for one in predictor.stream(["missing.png"], return_exceptions=True)] == [FileNotFoundError]


@pytest.mark.usefixtures("untyped")
def test_stream_refuses_a_single_image(predictor: Predictor, picture: np.ndarray) -> None:
    for single in ("a.png", Path("a.png"), picture, torch.from_numpy(picture), Image.fromarray(picture)):
        with pytest.raises(TypeError, match="stream takes a sequence of images; predict takes a single one"):
            predictor.stream(single)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1, not 0"):
        predictor.stream([picture], batch_size=0)
    with pytest.raises(ValueError, match="or a tensor, not NoneType"):
        predictor.predict(None)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_next_images_are_sent_while_the_gpu_computes(checkpoint: Path, picture: np.ndarray) -> None:
    predictor = ipsam.load(checkpoint, device="cuda", precision="fp32")
    expected = predictor.predict(picture)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # clock cycles: about a second
    busy = torch.cuda.current_stream().record_event()
    finish = predictor._start([picture], predictor.options)
    assert not busy.query()
    (result,) = finish()
    assert np.array_equal(result.prob, expected.prob)
    pictures = [picture[index:] for index in range(5)]
    for one, streamed in zip(pictures, predictor.stream(pictures, batch_size=2), strict=True):
        np.testing.assert_allclose(streamed.prob, predictor.predict(one).prob, atol=1e-4)


def test_map_equals_that_of_the_evaluation(checkpoint: Path, picture: np.ndarray, tmp_path: Path) -> None:
    """To the bit: each reads the JPEG its own way, with and without the training code."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    Image.fromarray(picture).save(tmp_path / "images/a.jpg")
    Image.fromarray(np.zeros((70, 90), np.uint8)).save(tmp_path / "masks/a.png")
    sets = data_with(
        image_size=64, root=tmp_path, test=[{"name": "own", "images": "images", "masks": "masks"}]
    ).test_sets()
    model = build_model(read_config(checkpoint / "config.yaml").model)
    load_weights(model, checkpoint)
    evaluate(model, sets, device=torch.device("cpu"), maps=tmp_path / "maps")
    saved = cv2.imread(str(tmp_path / "maps/own/a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(ipsam.load(checkpoint, device="cpu").predict(tmp_path / "images/a.jpg").map, saved)


@pytest.mark.parametrize("size", [(40, 100), (90, 30)])
def test_letterboxed_map_equals_that_of_the_evaluation(tmp_path: Path, size: tuple[int, int]) -> None:
    """To the bit, for a wide and a tall picture; prompts and gate have the picture's size."""
    for kind, pixels in (("images", np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)),
                         ("masks", np.zeros(size, np.uint8))):  # fmt: skip
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "a.png")
    model = micro_model().eval()
    randomise(model, scale=0.15)
    test = [{"name": "own", "images": "images", "masks": "masks"}]
    sets = data_with(image_size=64, letterbox=True, root=tmp_path, test=test).test_sets()
    evaluate(model, sets, device=torch.device("cpu"), maps=tmp_path / "maps")
    saved = cv2.imread(str(tmp_path / "maps/own/a.png"), cv2.IMREAD_UNCHANGED)
    predictor = Predictor(model, image_size=64, letterbox=True, device="cpu", fast=False)
    one, two = predictor.predict([tmp_path / "images/a.png"] * 2, batch_size=2)
    assert np.array_equal(one.map, two.map)
    assert np.abs(one.map.astype(int) - saved).max() <= 1  # a batch of two instead of one
    assert np.array_equal(predictor.predict(tmp_path / "images/a.png").map, saved)
    assert one.prob.shape == one.gate.shape == one.prompts.fg.shape == size
    squashed = Predictor(model, image_size=64, device="cpu", fast=False).predict(tmp_path / "images/a.png")
    assert not np.array_equal(squashed.map, saved)


@torch.no_grad()
def test_merged_lora_changes_the_map_by_a_level_at_most(picture: np.ndarray) -> None:
    model = micro_model(lora=LoRA(rank=4, dropout=0.5)).eval()
    randomise(model)
    plain = model(torch.zeros(1, 3, 64, 64)).logits
    assert any("lora_" in name for name, _ in model.named_parameters())
    predictor = Predictor(model, image_size=64, device="cpu")
    assert not any("lora_" in name for name, _ in predictor.model.named_parameters())
    torch.testing.assert_close(predictor.model(torch.zeros(1, 3, 64, 64)).logits, plain, atol=1e-4, rtol=1e-4)
    assert predictor.predict(picture).prob.shape == (70, 90)


def test_bf16_changes_the_map_a_little(checkpoint: Path, picture: np.ndarray) -> None:
    full, half = (ipsam.load(checkpoint, device="cpu", precision=kind).predict(picture) for kind in ("fp32", "bf16"))
    assert not np.array_equal(full.prob, half.prob)
    np.testing.assert_allclose(full.prob, half.prob, atol=0.1)


def test_a_model_without_prompts_and_gate(picture: np.ndarray) -> None:
    result = Predictor(NullPrompt(SAM2("micro", image_size=64)), image_size=64, device="cpu").predict(picture)
    assert (result.prompts, result.gate) == (None, None)
    assert result.prob.shape == (70, 90)


def test_pictures_of_a_result(picture: np.ndarray, tmp_path: Path) -> None:
    prob = np.zeros((70, 90), np.float32)
    prob[20:50, 30:60] = 0.8
    prob[0, 0] = 0.5
    result = Prediction(picture, prob)
    assert result.mask.sum() == 30 * 30 + 1
    assert set(np.unique(result.map)) == {0, 128, 204}
    overlay = np.asarray(result.overlay(colour=(0, 255, 0), opacity=0.5))
    assert np.array_equal(overlay[:15], np.where(np.arange(90)[None, :, None] > 0, picture[:15], overlay[:15]))
    np.testing.assert_allclose(overlay[35, 45], picture[35, 45] * 0.6 + np.array([0, 255, 0]) * 0.4, atol=1)
    assert tuple(overlay[20, 40]) == (0, 255, 0)  # the outline
    assert np.array_equal(np.asarray(result.drawn_with(edges="plain").cutout()), np.dstack([picture, result.map]))
    for kind, mode in (("map", "L"), ("mask", "L"), ("overlay", "RGB"), ("cutout", "RGBA")):
        with Image.open(result.save(tmp_path / "new" / f"{kind}.png", kind)) as saved:
            assert (saved.mode, saved.size) == (mode, (90, 70))
    for name, kind, message in (
        ("a.png", "logits", r"unknown kind of picture 'logits'; there are map, mask, overlay, cutout"),
        ("a.xyz", "map", r"a\.xyz: can't be written as a picture of this ending; let it end in \.png"),
        ("a.jpg", "cutout", r"a\.jpg: .*; a cutout needs an ending such as \.png"),
    ):
        with pytest.raises(ValueError, match=message):
            result.save(tmp_path / name, kind)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4)), r"an array of uint8 or a tensor, not float64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(height, width, 1, 3 or 4\), not \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), r"not \(0, 4, 1\)"),
        (torch.zeros(4, 4), r"the shape \(3, height, width\), not \(4, 4\)"),
        (torch.full((3, 4, 4), 2.0), r"values from 0 to 1, not 2 to 2: give it as it is, not normalised"),
        (torch.full((3, 4, 4), torch.nan), r"values from 0 to 1, not nan"),
    ],
)
def test_invalid_image_is_named(predictor: Predictor, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(image)


@pytest.mark.usefixtures("untyped")
def test_unusable_model_is_named() -> None:
    with pytest.raises(ValueError, match="OraclePoint needs the ground truth: it can be evaluated, not used"):
        Predictor(OraclePoint(SAM2("micro", image_size=64)), image_size=64)
    with pytest.raises(ValueError, match=r"precision must be one of auto, fp32, bf16, not 'fp8'"):
        Predictor(micro_model(), image_size=64, precision="fp8")
    with pytest.raises(ValueError, match="this model was not loaded from a folder"):
        Predictor(micro_model(), image_size=64, device="cpu").save_pretrained("x")


def test_heavy_packages_are_imported_lazily() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, ipsam; print(sorted({'torch', 'sam2', 'hydra'} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ipsam.nothing  # noqa: B018
