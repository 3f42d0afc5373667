import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import CURVES, METRICS, Protocol
from ipsam.tools.compare.examples import FALSE_POSITIVE, MISSED, SIDE, Case, choose, draw_cases, error_picture
from ipsam.tools.compare.html_report import render

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "it's a 'quote'", "&amp; $body", "模型 מודל")
CURVE = {name: np.linspace(0, 1, 256) for name in CURVES}


class Page(HTMLParser):
    """What a browser would make of a report: its elements, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def evaluation(datasets: Sequence[str], value: float = 0.5, num: int = 3) -> Evaluation:
    rows = [
        {"dataset": dataset, "name": f"image{i}", **dict.fromkeys(METRICS, value + i / 100)}
        for dataset in datasets
        for i in range(num)
    ]
    scores = {dataset: {"num_images": num, **dict.fromkeys(METRICS, value)} for dataset in datasets}
    return Evaluation(scores, rows, dict.fromkeys(datasets, CURVE))


def case(name: str, rank: int = 1, image: bytes | None = b"\xff\xd8") -> Case:
    return Case(name, rank, dict.fromkeys(METRICS, 0.25), image, b"\x89PNG", b"\xff\xd8", b"\xff\xd8")


def test_one_method_on_one_dataset() -> None:
    page = Page(render({"One": evaluation(["CAMO"])}, {("One", "CAMO"): [case("a"), case("b", 2)]}))
    text = " ".join(page.texts)
    assert "One on CAMO" in " ".join(text.split())
    assert str(Protocol()) in text
    assert "0.5000" in page.texts
    assert len(page.all("table")) == 2
    assert len(page.all("img")) == 3 + 3 + 2 * 4
    assert "open" in page.all("details")[1]
    assert not any(attributes.get("class") == "best" for attributes in page.all("td"))


def test_the_best_of_several_methods_is_marked_where_they_have_the_same_images() -> None:
    methods = {"One": evaluation(["CAMO", "NC4K"]), "Two": evaluation(["CAMO"], 0.6)}
    html = render(methods, {})
    assert html.count("class='best'") == len(METRICS)
    assert len(Page(html).all("h2")) == 2
    assert "2 methods on 2 datasets" in html
    assert "class='best'" not in render({"One": methods["One"], "Two": evaluation(["CAMO"], 0.6, num=2)}, {})


def test_names_are_only_ever_text() -> None:
    methods = {name: evaluation(EVIL) for name in EVIL}
    cases = {(method, dataset): [case(name) for name in EVIL] for method in EVIL for dataset in EVIL}
    html = render(methods, cases)
    page = Page(html)
    assert len(page.all("script")) == html.count("<script>") == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    for name in EVIL:
        assert page.texts.count(name) >= 2 + 25  # in the table of scores, as heading, and in each table of cases
        assert any(attributes.get("alt") == f"map of {name}" for attributes in page.all("img"))


def test_nothing_from_elsewhere_and_no_script_but_its_own() -> None:
    html = render({"One": evaluation(["CAMO"])}, {("One", "CAMO"): [case("a")]})
    page = Page(html)
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    script = re.findall("<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    assert not page.all("link")
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))
    assert "http:" not in html
    assert "https:" not in html


def test_headings_are_buttons_and_tell_how_they_sort() -> None:
    page = Page(render({"One": evaluation(["CAMO"])}, {("One", "CAMO"): [case("a")]}))
    headers = page.all("th")
    assert len(page.all("button")) == len([h for h in headers if "data-kind" in h]) == len(headers) - 4
    assert [h["aria-sort"] for h in headers if "aria-sort" in h] == ["descending"]  # the ranks, the worst first


def test_without_images_there_is_no_column_for_them() -> None:
    page = Page(render({"One": evaluation(["CAMO"])}, {("One", "CAMO"): [case("a", image=None)]}))
    assert "image" not in page.texts
    page = Page(render({"One": evaluation(["CAMO"])}, {("One", "CAMO"): [case("a", image=None), case("b")]}))
    assert "image" in page.texts


def test_a_score_that_is_no_number_sorts_last() -> None:
    assert 'data-value="nan">–</td>' in render({"One": evaluation(["CAMO"], float("nan"))}, {})  # noqa: RUF001


@pytest.mark.parametrize(
    ("num", "expected"), [(0, []), (1, [(5, 0), (1, 3)]), (2, [(5, 0), (4, 1), (2, 2), (1, 3)]), (3, "all"), (9, "all")]
)
def test_the_best_and_the_worst(num: int, expected: object) -> None:
    rows = [{"sm": score} for score in (float("nan"), 0.1, 0.8, 0.9, 0.5)]
    everything = [(5, 0), (4, 1), (3, 4), (2, 2), (1, 3)]
    assert choose(rows, num) == (everything if expected == "all" else expected)


def test_errors_in_colour() -> None:
    prediction, mask = np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([[0, 255, 255, 0]], np.uint8)
    assert error_picture(prediction, mask).tolist() == [
        [list(FALSE_POSITIVE), list(MISSED), [200, 200, 200], [255, 255, 255]]
    ]
    assert error_picture(np.array([[0.5]]), mask[:, :1]).tolist() == [[[234, 174, 128]]]  # half-way from white


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_pictures_of_a_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mask, faint = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    mask[100:200, 100:200], faint[100:200, 100:300] = 255, 100
    for name, picture in {"mask": mask, "map": faint}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    cv2.imwrite(str(tmp_path / "image.png"), np.full((30, 40, 3), (10, 200, 90), np.uint8))
    saved = SavedMap("a", tmp_path / "map.png", tmp_path / "mask.png", tmp_path / "image.png")
    rows = [{"dataset": "CAMO", "name": "a", **dict.fromkeys(METRICS, 0.5)}]
    (drawn,) = draw_cases(rows, [saved], 8, Protocol())
    assert (drawn.name, drawn.rank, drawn.scores["sm"]) == ("a", 1, 0.5)
    assert drawn.image is not None
    assert np.abs(decoded(drawn.image).astype(int) - (10, 200, 90)).max() < 8  # small pictures are not enlarged
    assert decoded(drawn.image).shape == (30, 40, 3)
    assert decoded(drawn.truth).shape == decoded(drawn.map).shape == (120, SIDE, 3)
    assert decoded(drawn.map).max() > 250  # stretched, as it is scored
    error = decoded(drawn.error)[60].astype(int)
    assert np.abs(error[100] - FALSE_POSITIVE[::-1]).max() < 12
    assert np.abs(error[60] - 200).max() < 12

    (tmp_path / "image.png").write_bytes(b"")
    (without,) = draw_cases(rows, [saved], 8, Protocol())
    assert without.image is None
    assert "no picture of an image" in caplog.text
    assert "image.png: the file is empty" in caplog.text


@pytest.mark.parametrize("protocol", [Protocol(eight_bit=False), Protocol(size=64, binarise=True)])
def test_pictures_under_other_protocols(tmp_path: Path, protocol: Protocol) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    saved = SavedMap("a", tmp_path / "mask.png", tmp_path / "mask.png")
    rows = [{"dataset": "CAMO", "name": "a", **dict.fromkeys(METRICS, 1.0)}]
    (drawn,) = draw_cases(rows, [saved], 1, protocol)
    assert decoded(drawn.map).shape == ((64, 64, 3) if protocol.size else (20, 30, 3))
