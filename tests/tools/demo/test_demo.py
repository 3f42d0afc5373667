"""The demo's predictions, HTML and examples, without a server."""

import base64
import io
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.builders import micro_model, randomise

import ipsam
from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.model_card import terms_of_use
from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.tools.demo import answer as answers
from ipsam.tools.demo import html_images, require_gradio
from ipsam.tools.demo.answer import answer
from ipsam.tools.demo.examples import EXAMPLES, copy_examples, thumbnails, write_examples
from ipsam.utils.serving import free_port


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return ipsam.load(checkpoint, device="cpu")


@pytest.fixture
def upload(picture: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "secret" / "pond.png"
    path.parent.mkdir()
    Image.fromarray(picture).save(path)
    return path


def embedded(html: str) -> list[Image.Image]:
    """Decode the images in HTML."""
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


def test_upload_is_predicted_like_by_the_api(predictor: Predictor, upload: Path) -> None:
    result, about = answer(predictor, upload)
    assert np.array_equal(result.prob, predictor.predict(upload).prob)
    assert re.match(r"90 × 70 pixels, predicted in \d+\.\d\d s on CPU\. The mask covers", about)  # noqa: RUF001


def test_empty_mask_is_explained_and_remarks_are_escaped(upload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(micro_model(), image_size=64, device="cpu")
    nothing = Prediction(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), remark="no <box>")
    monkeypatch.setattr(predictor, "predict", lambda _: nothing)
    assert answer(predictor, upload)[1].endswith("No object was found in it. no &lt;box&gt;")


def test_controls_are_made_of_the_options() -> None:
    """They have the predictor's values, and the ranges and explanations of ``ipsam predict``."""
    pytest.importorskip("gradio", reason="the extra [demo] is not installed", exc_type=ImportError)
    from ipsam.tools.demo.controls import controls, options_of

    options = PredictionOptions(zoom=True, background="blur", feather=2)
    shown = controls(options)
    assert PredictionOptions(**options_of({name: one.value for name, one in shown.items()})) == options
    kinds = {name: type(one).__name__ for name, one in shown.items()}
    assert kinds == {"tta": "Radio", "zoom": "Checkbox", "threshold": "Slider"} | dict.fromkeys(
        ("background", "crop", "feather"), "Textbox"
    )
    assert [value for _, value in shown["tta"].choices] == ["none", "flip", "scales"]
    assert (shown["threshold"].minimum, shown["threshold"].maximum) == pytest.approx((0.01, 0.99))
    assert shown["background"].info.startswith("of the cutout: empty (transparent), blur, or a colour")
    values = {"background": "", "crop": "0.5", "feather": "two", "zoom": False, "tta": "flip"}
    read = {"background": None, "crop": 0.5, "feather": "two", "zoom": False, "tta": "flip"}
    assert options_of(values) == read


def test_options_change_the_answer_and_bad_ones_keep_the_picture(predictor: Predictor, upload: Path) -> None:
    pytest.importorskip("gradio", reason="the extra [demo] is not installed", exc_type=ImportError)
    from ipsam.tools.demo import page

    result, _ = answer(predictor, upload, tta="flip", threshold=0.6, background="white")
    expected = predictor.predict(upload, tta="flip", threshold=0.6, background="white")
    assert np.array_equal(result.mask, expected.mask)
    assert result.cutout().mode == "RGB"
    assert "where the probability is 0.6 or more" in html_images.maps(result)
    uploads = {"path": str(upload)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "uploaded", Path)
        (updates,) = page.answers(predictor, uploads, page.Visit(), {"threshold": 5, "background": "<b>"})
        assert "image" not in updates
        for part in ("alert", "threshold must be a number above 0 and below 1, not 5", "&#x27;&lt;b&gt;&#x27;"):
            assert part in updates["status"]
        upload.write_bytes(b"torn")
        (updates,) = page.answers(predictor, uploads, page.Visit(), {})
        assert updates["image"] is None


def test_error_names_the_upload_without_its_folder(
    predictor: Predictor, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = upload.read_bytes()
    for bad in (b"", b"hello", content[:40], content[: len(content) // 2]):
        upload.write_bytes(bad)
        with pytest.raises(ValueError, match=r"^pond\.png: ") as caught:
            answer(predictor, upload)
        assert "secret" not in str(caught.value)
    upload.write_bytes(content)
    monkeypatch.setattr(answers, "MAX_PIXELS", 6_000)
    with pytest.raises(ValueError, match=r"^pond\.png: 0 megapixels exceed"):
        answer(predictor, upload)


def test_preview_is_small_enough(predictor: Predictor, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    result = predictor.predict(picture)
    assert html_images.preview(result) is result
    monkeypatch.setattr(html_images, "LONGEST", 45)
    small = html_images.preview(result)
    assert small.image.shape == (35, 45, 3)
    assert small.prob.shape == small.gate.shape == small.prompts.fg.shape == (35, 45)
    assert abs(small.prob.mean() - result.prob.mean()) < 1e-3
    sliver = Prediction(np.zeros((1, 5000, 3), np.uint8), np.zeros((1, 5000), np.float32))
    assert html_images.preview(sliver).prob.shape == (1, 45)


def test_overlay_mixes_to_any_opacity(predictor: Predictor) -> None:
    result = predictor.predict(camouflaged_scene(np.random.default_rng(5), size=128, difficulty=0.2).image)
    lower, upper = (np.asarray(one, float) for one in embedded(html_images.overlay(result)))
    expected = np.asarray(result.overlay(opacity=0.3), float)
    outline = np.any(np.asarray(result.overlay(opacity=0)) != result.image, axis=2)
    difference = np.abs(lower * 0.7 + upper * 0.3 - expected)[~outline]
    assert difference.mean() < 2  # of 255, as they are JPEGs
    assert np.abs(lower - expected)[~outline].mean() > 5


def test_maps_are_shown_exactly(predictor: Predictor, picture: np.ndarray) -> None:
    result = predictor.predict(picture)
    html = html_images.maps(result)
    prob, mask, fg, bg, gate = (np.asarray(one) for one in embedded(html))
    assert np.array_equal(prob, result.map)
    assert np.array_equal(mask, result.mask * np.uint8(255))
    assert result.prompts is not None
    for shown, expected in ((fg, result.prompts.fg), (bg, result.prompts.bg)):
        assert np.abs(shown / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert gate.shape == (70, 90, 3)
    assert html.count("<figure>") == html.count('alt="') == 5


def test_gate_is_red_where_it_keeps_and_blue_where_it_suppresses() -> None:
    result = Prediction(np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2), np.float32))
    object.__setattr__(result, "gate", np.array([[0.02, 0.98]], np.float32))
    left, suppressed = np.asarray(embedded(html_images.maps(result))[-1])[0].astype(int)
    assert left[0] > 2 * left[2]
    assert suppressed[2] > suppressed[0]


def test_missing_parts_are_not_shown(picture: np.ndarray) -> None:
    for parts, num_maps in (({"self_prompt": False}, 2), ({"gating": False}, 4)):
        model = micro_model(**parts)
        randomise(model, scale=0.15)
        html = html_images.maps(Predictor(model, image_size=64, device="cpu").predict(picture))
        assert len(embedded(html)) == num_maps
        assert "Gate" not in html


def test_examples_are_reproducible(tmp_path: Path) -> None:
    once, again = write_examples(tmp_path / "a"), write_examples(tmp_path / "b")
    assert list(once) == list(EXAMPLES)
    for name, file in once.items():
        assert file.read_bytes() == again[name].read_bytes()
        assert to_rgb(file).shape == (512, 512, 3)
    html = thumbnails(once)
    assert re.findall(r'data-name="(\w+)"', html) == list(EXAMPLES)
    assert len(html) < 200_000


def test_own_examples_are_copied_and_their_names_escaped(upload: Path, tmp_path: Path) -> None:
    own = upload.parent
    for name in ("a<b>.jpg", "wide.png"):
        Image.new("RGB", (90, 30), "red").save(own / name)
    (own / "notes.txt").write_text("no picture")
    files = copy_examples(own, tmp_path / "examples")
    assert list(files) == ["a<b>.jpg", "pond.png", "wide.png"]
    assert files["pond.png"].read_bytes() == upload.read_bytes()
    html = thumbnails(files)
    assert 'data-name="a&lt;b&gt;.jpg"' in html
    assert ">a&lt;b&gt;</button>" in html
    assert {one.size for one in embedded(html)} == {(160, 160)}
    assert np.asarray(embedded(html)[2]).std(axis=(0, 1)).max() < 2  # cropped, not squashed with black
    with pytest.raises(ValueError, match=r"examples=.*none: no pictures there; name a folder"):
        copy_examples(tmp_path / "none", tmp_path / "new")


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"trained_on": ["synthetic"]}, ""),
        ({"trained_on": ["mine"]}, "The terms of its training data apply to it."),
        (
            {"trained_on": ["mine", "synthetic"], "terms": "research use", "license": "other"},
            "The terms of its training data apply to it: research use.",
        ),
        ({"trained_on": ["mine"], "license": "mit"}, ""),
    ],
)
def test_terms_of_the_training_data_are_stated(description: dict[str, Any], expected: str) -> None:
    assert terms_of_use(description) == expected


@pytest.mark.usefixtures("untyped")
def test_unusable_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port={taken}: the page can't be served there .*in use.* port=0"):
            free_port("127.0.0.1", taken)
    assert free_port("127.0.0.1", taken) == taken
    assert free_port("127.0.0.1", 0) > 1023
    for host, port in (("127.0.0.1", 70_000), ("127.0.0.1", "http"), ("192.0.2.1", 0)):
        with pytest.raises(ValueError, match=f"host={host} port={port}: the page can't be served"):
            free_port(host, port)


def test_missing_gradio_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[demo\]'"):
        require_gradio()
