"""scripts/demo.py used through headless Chromium."""

import base64
import io
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from safetensors.torch import load_file, save_file
from support.served_demo import Served, serve_demo

import ipsam
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.tools.demo.examples import write_examples

pytest.importorskip("gradio", reason="the extra [demo] is not installed", exc_type=ImportError)
pytestmark = pytest.mark.slow

WRITTEN = "Download the cutout (transparent PNG)"
OPACITY = "getComputedStyle(document.querySelector('.overlay img + img')).opacity"
WAIT = 60_000  # milliseconds


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose bias is shifted so that probabilities lie on both sides of 0.5."""
    folder = save_pretrained(checkpoint, tmp_path_factory.mktemp("model"))
    weights = load_file(folder / "model.safetensors")
    weights["refine.residual.3.bias"] -= 0.2
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve_demo(model, tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return ipsam.load(model, device="cpu")


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    """The opened page; it must request nothing from other servers."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT)
    requested: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(served.address)
    page.get_by_role("heading", name="IP-SAM: small").wait_for()
    yield page
    context.close()
    assert not errors
    assert len(requested) > 10
    assert not [url for url in requested if not url.startswith((served.address, "data:", f"blob:{served.address}"))]


def choose(page: Any, example: str) -> None:
    """Choose an example, and wait for its result."""
    page.get_by_role("button", name=example).click()
    page.get_by_role("button", name=WRITTEN).wait_for()


def upload(page: Any, path: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(path)


def shown(page: Any, title: str) -> np.ndarray:
    """Return the pixels of a map on the page."""
    source = page.get_by_alt_text(re.compile(f"^{re.escape(title)}: ")).get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))))


def assert_same_picture(pixels: np.ndarray, expected: np.ndarray) -> None:
    """The page's process may sum in another order than this one, which moves a few pixels by one level."""
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def cutout(page: Any) -> tuple[str, np.ndarray]:
    """Return the name and the pixels of the downloaded cutout."""
    return downloaded(page, WRITTEN)


def downloaded(page: Any, label: str) -> tuple[str, np.ndarray]:
    """Return the name and the pixels of the picture that a button downloads."""
    button = page.get_by_role("button", name=label)
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, np.asarray(Image.open(download.value.path()))


def test_upload_becomes_a_mask_and_a_cutout(
    page: Any, predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(picture).save(tmp_path / "pond.png")
    upload(page, tmp_path / "pond.png")
    page.get_by_role("status").get_by_text(re.compile(r"90 × 70 pixels, predicted in [\d.]+ s on CPU")).wait_for()  # noqa: RUF001
    result = predictor.predict(tmp_path / "pond.png")
    assert 0.1 < result.mask.mean() < 0.9
    assert_same_picture(shown(page, "Probability"), result.map)
    assert np.array_equal(shown(page, "Mask"), result.mask * np.uint8(255))
    for title in ("Prompt P+", "Prompt P−", "Gate decision"):  # noqa: RUF001
        assert shown(page, title).std() > 1
    name, pixels = cutout(page)
    assert name == "pond_cutout.png"
    assert_same_picture(pixels, np.asarray(result.cutout()))
    for label, kind in (("mask (PNG)", "mask"), ("probability map (PNG)", "map")):
        name, pixels = downloaded(page, f"Download the {label}")
        assert name == f"pond_{kind}.png"
        assert np.array_equal(pixels, np.asarray(result.picture(kind)))


def test_page_says_what_the_model_was_trained_on(page: Any) -> None:
    page.get_by_text("Trained on synthetic scenes.").wait_for()


def test_options_are_closed_at_first_and_used_on_demand(page: Any, predictor: Predictor, tmp_path: Path) -> None:
    easy = write_examples(tmp_path / "examples")["easy"]
    choose(page, "easy")
    again = page.get_by_role("button", name="Predict with these options")
    assert not again.is_visible()
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("flip").check()
    page.get_by_role("textbox", name="background").fill("no colour")
    again.click()
    page.get_by_role("alert").get_by_text("background must be blur, or a colour such as white").wait_for()
    assert page.locator("#upload img").count() == 1
    page.get_by_role("textbox", name="background").fill("white")
    page.get_by_role("textbox", name="crop").fill("0.1")
    again.click()
    page.get_by_role("button", name=WRITTEN).wait_for()
    expected = predictor.predict(easy, tta="flip", background="white", crop=0.1).cutout()
    assert expected.mode == "RGB"
    assert_same_picture(cutout(page)[1], np.asarray(expected))


def test_slider_works_without_the_server(page: Any) -> None:
    choose(page, "easy")
    overlay = page.locator("#overlay")
    slider = page.get_by_role("slider", name="Strength of the overlay")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    slider.focus()
    screenshots = {overlay.screenshot()}
    for key, opacity in (("Home", 0), ("End", 1)):
        slider.press(key)
        page.wait_for_function(f"{OPACITY} === '{opacity}'")
        screenshots.add(overlay.screenshot())
    assert len(screenshots) == 3
    assert not requested
    choose(page, "medium")  # the next image keeps the chosen strength
    assert page.evaluate(OPACITY) == "1"


def test_broken_file_is_named_and_the_next_one_works(
    page: Any, predictor: Predictor, picture: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    Image.fromarray(picture).save(tmp_path / "pond.png")
    for _ in range(2):  # over an empty box, and over a picture
        upload(page, tmp_path / "torn.png")
        page.get_by_role("alert").get_by_text("torn.png: the image header can't be read").wait_for()
        page.wait_for_timeout(500)
        assert page.get_by_role("alert").count() == 1  # it stays
        assert page.locator("figure").count() == page.get_by_text("Download").count() == 0
        upload(page, tmp_path / "pond.png")
        page.get_by_role("button", name=WRITTEN).wait_for()
        assert page.get_by_role("alert").count() == 0
    assert_same_picture(cutout(page)[1], np.asarray(predictor.predict(picture).cutout()))


def test_paste_drop_and_remove(page: Any) -> None:
    event = """([kind, target, width]) => {
        const canvas = Object.assign(document.createElement("canvas"), {width, height: 40});
        const bytes = Uint8Array.from(atob(canvas.toDataURL().split(",")[1]), (one) => one.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], kind + ".png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true};
        const event = kind === "paste" ? new ClipboardEvent(kind, {...options, clipboardData: data})
                                       : new DragEvent(kind, {...options, dataTransfer: data});
        document.querySelector(target).dispatchEvent(event);
    }"""
    page.locator("#upload input[type=file]").wait_for(state="attached")
    for width, (kind, target) in enumerate((("paste", "body"), ("drop", "h1"), ("drop", "#upload img")), start=50):
        page.evaluate(event, [kind, target, width])
        page.get_by_role("status").get_by_text(f"{width} × 40").wait_for()  # noqa: RUF001
        assert cutout(page)[0] == f"{kind}_cutout.png"
    page.get_by_role("button", name="Remove Image").click()
    page.get_by_role("status").get_by_text("Choose a picture").wait_for()
    assert page.locator("figure").count() == page.get_by_text("Download").count() == 0


def test_example_by_keyboard_in_a_narrow_window(page: Any, predictor: Predictor, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    hard = write_examples(tmp_path / "examples")["hard"]
    button = page.get_by_role("button", name="hard")
    button.focus()
    button.press("Enter")
    name, pixels = cutout(page)
    assert name == "hard_cutout.png"
    assert_same_picture(pixels, np.asarray(predictor.predict(hard).cutout()))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    left = {round(page.locator("figure").nth(index).bounding_box()["x"]) for index in range(5)}
    assert len(left) == 2  # columns of maps
    for element in page.locator("button:visible, input:visible").all():
        label = element.get_attribute("aria-label") or element.inner_text() or element.get_attribute("id")
        assert label, element.evaluate("(one) => one.outerHTML")
    for figure in page.locator("figure img, .overlay img").all():
        assert figure.get_attribute("alt").endswith(".")


def test_result_scrolls_into_view_in_a_narrow_window(page: Any, tmp_path: Path) -> None:
    """An error does, too; a wide window stays where it is."""
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    choose(page, "easy")
    assert page.evaluate("scrollY") == 0
    page.set_viewport_size({"width": 400, "height": 600})
    is_at_top = "Math.abs(document.querySelector('#status').getBoundingClientRect().top) < 40"
    page.evaluate("scrollTo(0, 0)")
    choose(page, "medium")
    page.wait_for_function(is_at_top)
    page.evaluate("scrollTo(0, 0)")
    upload(page, tmp_path / "torn.png")
    page.get_by_role("alert").wait_for()
    page.wait_for_function("document.querySelector('#status').getBoundingClientRect().top < innerHeight - 20")


def test_demo_contacts_nobody_and_leaves_no_files(served: Served, chromium: Any) -> None:
    """The last test: two signals, as ``timeout`` sends them, end the server while a page is open."""
    assert requests.get(f"{served.address}config", timeout=10).json()["analytics_enabled"] is False
    page = chromium.new_page()
    page.goto(served.address)
    choose(page, "easy")
    assert list(served.temporary.rglob("easy_cutout.png"))
    for _ in range(2):
        served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=30) == 0
    page.close()
    assert not list(served.temporary.glob("ipsam_demo_*"))
    assert set(served.contacts.read_text().split()) <= {"127.0.0.1", "localhost", "None"}
    assert served.process.stdout is not None
    assert served.process.stdout.read() == ""  # no traceback
