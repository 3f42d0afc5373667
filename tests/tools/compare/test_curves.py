import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import cache_from_source
from pathlib import Path

import numpy as np
import pytest
from jinja2.bccache import bc_magic

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import CURVES
from ipsam.tools.compare import html_report
from ipsam.tools.compare.charts import KINDS
from ipsam.tools.compare.html_report import DASHES, curve_files
from ipsam.utils.console import visible

FALLING = {name: np.linspace(1, 0, 256) if name == "precision" else np.linspace(0, 1, 256) for name in CURVES}
NAMES = ("plain", "模型", "<script>alert(1)</script>", "\x1b[31m\uffff", "x" * 200, *map(str, range(4)))
SVG = "{http://www.w3.org/2000/svg}"


def test_curve_files_name_each_method_beside_a_line_of_its_own() -> None:
    methods = {"absent": Evaluation()} | {name: Evaluation(curves={"NC 4K": FALLING}) for name in NAMES}
    files = curve_files(methods)
    assert list(files) == [f"NC 4K_{kind}.svg" for kind in KINDS]
    for content in files.values():
        root = ElementTree.fromstring(content)
        lines = [one for one in root.iter(f"{SVG}path") if one.get("class") == "curve"]
        assert len({one.get("style") for one in lines}) == len(NAMES) <= 6 * len(DASHES)  # colour and dashes
        assert [one.get("data-parts") for one in lines] == [f"m{number + 1}" for number in range(len(NAMES))]
        assert [one.findtext(f"{SVG}title") for one in lines] == [visible(name) for name in NAMES]
        shown = [visible(name) if len(name) < 48 else name[:47] + "…" for name in NAMES]  # as many as fit
        assert [one.text for one in root.findall(f"{SVG}text")][1:] == shown


def test_compiled_templates_lie_where_python_keeps_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = Path(cache_from_source(str(html_report.__file__))).parent
    folder.mkdir(parents=True)
    expected = curve_files({"One": Evaluation(curves={"CAMO": FALLING})})
    compiled = {path: path.read_bytes() for path in folder.glob("*.jinja")}
    assert len(compiled) == 2
    for path, content in compiled.items():
        path.write_bytes(content[: len(bc_magic) + 3])  # cut off
    assert curve_files({"One": Evaluation(curves={"CAMO": FALLING})}) == expected
    assert {path: path.read_bytes() for path in folder.glob("*.jinja")} == compiled
