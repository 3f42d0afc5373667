import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
from support.saved_maps import scored

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import CURVES, METRICS, Protocol
from ipsam.tools.compare.examples import Example, Rivalry
from ipsam.tools.compare.html_report import Details, render
from ipsam.tools.compare.significance import differences
from ipsam.utils.console import CONTROL, visible

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "it's a 'quote'",
    "&amp; {{ title }}",
    "模型 מודל",
    "=1+1\x1b[31m\x9b\u202egnp",
)
CURVE = {name: np.linspace(0, 1, 256) for name in CURVES}


class Page(HTMLParser):
    """Elements and text of a report, as a browser parses them."""

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
    images = scored({f"image{i}": dict.fromkeys(METRICS, value + i / 100) for i in range(num)})
    scores = {dataset: {"num_images": num, **dict.fromkeys(METRICS, value)} for dataset in datasets}
    return Evaluation(scores, dict.fromkeys(datasets, images), dict.fromkeys(datasets, CURVE))


def example(name: str, rank: int = 1, image: bytes | None = b"\xff\xd8") -> Example:
    return Example(name, rank, dict.fromkeys(METRICS, 0.25), image, b"\x89PNG", b"\xff\xd8", b"\xff\xd8")


def one_method(*examples: Example, value: float = 0.5) -> str:
    return render({"One": evaluation(["CAMO"], value)}, Details({("One", "CAMO"): examples}))


def test_one_method_on_one_dataset() -> None:
    page = Page(one_method(example("a"), example("b", 2)))
    text = " ".join(" ".join(page.texts).split())
    assert "One on CAMO" in text
    assert str(Protocol()) in text
    assert "0.5000" in page.texts
    assert len(page.all("table")) == 2
    assert len(page.all("img")) == 2 * 4
    assert len(page.all("figure")) == 3 + 3
    assert not page.all("input")  # nothing to choose
    assert "open" in page.all("details")[1]
    assert not any(attributes.get("class") == "best" for attributes in page.all("td"))


def test_best_method_is_marked_only_over_the_same_images() -> None:
    methods = {"One": evaluation(["CAMO", "NC4K"]), "Two": evaluation(["CAMO"], 0.6)}
    html = render(methods, Details())
    assert html.count('class="best"') == len(METRICS)
    assert len(Page(html).all("h2")) == 2
    assert "2 methods on 2 datasets" in html
    assert 'class="best"' not in render({"One": methods["One"], "Two": evaluation(["CAMO"], 0.6, num=2)}, Details())
    others = [
        evaluation(["CAMO"], value).without("CAMO", {"no map": [name]}) for value, name in ((0.5, "a"), (0.6, "b"))
    ]
    assert 'class="best"' not in render(dict(zip(["One", "Two"], others, strict=True)), Details())


def test_names_are_escaped() -> None:
    examples = {(method, dataset): [example(name) for name in EVIL] for method in EVIL for dataset in EVIL}
    rivals = [Rivalry(name, b"", b"", dict.fromkeys(EVIL, b""), dict.fromkeys(EVIL, 0.5)) for name in EVIL]
    rivalries = dict.fromkeys(EVIL, rivals)
    group = {"by": "subclass", "images": 1, **dict.fromkeys(METRICS, 0.5)}
    groups = [group | {"dataset": EVIL[0], "method": method, "group": name} for name in EVIL for method in EVIL]
    methods = {name: evaluation(EVIL) for name in EVIL}
    html = render(methods, Details(examples, rivalries, differences(methods), groups))
    page = Page(html)
    assert not CONTROL.search(html)
    assert len(page.all("script")) == html.count("<script>") == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    for name in map(visible, EVIL):
        assert (
            page.texts.count(name) >= 2 + len(EVIL) ** 2
        )  # in the table of scores, as heading, and in each table of examples
        assert any(attributes.get("alt") == f"map of {name}" for attributes in page.all("img"))


def test_page_loads_nothing_and_runs_only_its_own_script() -> None:
    html = one_method(example("a"))
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


def test_headings_are_buttons_with_their_sort_order() -> None:
    page = Page(one_method(example("a"), example("b", image=None)))
    headers = page.all("th")
    assert len(page.all("button")) == sum("data-kind" in header for header in headers) == len(headers) - 4  # pictures'
    assert [h["aria-sort"] for h in headers if "aria-sort" in h] == ["descending"]  # the ranks, the worst first
    assert "image" in page.texts
    assert "image" not in Page(one_method(example("a", image=None))).texts


def test_methods_side_by_side_and_what_was_left_out_come_with_several_methods() -> None:
    methods = {"One": evaluation(["CAMO", "NC4K"]).without("NC4K", {"no map": ["z"]}), "Two": evaluation(["CAMO"], 0.6)}
    rivalry = Rivalry("lizard", None, b"\x89PNG", {"One": b"\xff\xd8", "Two": b"\xff\xd8"}, {"One": 0.25, "Two": 0.75})
    html = render(methods, Details(rivalries={"CAMO": [rivalry]}, differences=differences(methods)))
    assert html.index("One, NC4K: only 3 of 4 images are scored") < html.index("<table")
    page = Page(html)
    assert {"One 0.2500", "Two 0.7500"} < {image.get("title") for image in page.all("img")}
    values = [one["value"] for one in page.all("input") if one["type"] == "checkbox"]
    assert values == ["d0", "d1", "m0", "m1"]
    of_two = [attributes for _, attributes in page.elements if "m1" in (attributes.get("data-parts") or "")]
    assert len([one for one in of_two if one.get("class") == "curve"]) == 1 + 3 + 3
    assert "[-0.1000, -0.1000]" in page.texts
    assert page.texts.count("precision and recall, where they differ") == 1
