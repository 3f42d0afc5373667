"""The report in headless Chromium: filters, slider, dark mode and a phone's width."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.saved_maps import scored

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import CURVES, METRICS
from ipsam.tools.compare.examples import Example, Rivalry
from ipsam.tools.compare.html_report import Details, render
from ipsam.tools.compare.significance import differences

COLOUR = "getComputedStyle(document.querySelector('.curve')).stroke"
CUT = "getComputedStyle(document.querySelector('img.right')).clipPath"


def write_report(path: Path) -> str:
    picture = cv2.imencode(".png", np.zeros((90, 160), np.uint8))[1].tobytes()
    images = scored({name: dict.fromkeys(METRICS, value) for name, value in (("lizard", 0.5), ("x" * 80, 0.75))})
    curves = {name: np.linspace(0, 1, 256) for name in CURVES}
    scores = {"num_images": 2, **dict.fromkeys(METRICS, 0.5)}
    sets = ("CAMO", "NC4K")
    one = Evaluation(dict.fromkeys(sets, scores), dict.fromkeys(sets, images), dict.fromkeys(sets, curves))
    methods = {"One": one, "Two": one, "Three": one}
    examples = [Example(name, 1, dict.fromkeys(METRICS, 0.5), *[picture] * 4) for name in images.names]
    rivals = [
        Rivalry(name, picture, picture, dict.fromkeys(methods, picture), {"One": 0.5, "Two": 0.6, "Three": third})
        for name, third in (("near", 0.4), ("far", 0.9))
    ]
    details = Details({("One", "CAMO"): examples}, {"CAMO": rivals}, differences(methods))
    path.write_text(render(methods, details), encoding="utf-8")
    return path.as_uri()


@pytest.mark.slow
def test_report_in_a_browser(chromium: Any, tmp_path: Path) -> None:
    address, errors, requested = write_report(tmp_path / "report.html"), [], []
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('table.cards').scrollWidth") < 390

    rows = page.locator("table").first.locator("tbody tr:visible")
    assert rows.count() == 6
    page.get_by_role("checkbox", name="Two").uncheck()
    page.get_by_role("checkbox", name="NC4K").uncheck()
    assert rows.count() == 2
    assert page.locator("h2:visible").all_inner_texts() == ["CAMO"]
    assert page.locator("section:visible svg svg >> nth=0").locator("path:visible").count() == 2

    figures, right = page.locator(".pairs figure"), page.locator("select").nth(1)
    right.select_option("Three")
    assert figures.first.inner_text().splitlines() == ["far", "One 0.5000 | Three 0.9000"]
    assert page.evaluate(CUT) == "inset(0px 0px 0px 50%)"
    figures.first.get_by_role("slider").fill("20")
    assert page.evaluate(CUT) == "inset(0px 0px 0px 20%)"
    right.select_option("ground truth")
    assert figures.first.locator("img.right").get_attribute("alt") == "ground truth"

    light = page.evaluate(COLOUR)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(COLOUR) != light
    assert not errors
    assert [url for url in requested if not url.startswith("data:")] == [address]
