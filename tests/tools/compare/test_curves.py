import xml.etree.ElementTree as ElementTree

import numpy as np

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import CURVES
from ipsam.tools.compare.charts import KINDS
from ipsam.tools.compare.html_report import DASHES, curve_files

FALLING = {name: np.linspace(1, 0, 256) if name == "precision" else np.linspace(0, 1, 256) for name in CURVES}
NAMES = ("plain", "模型", "<script>alert(1)</script>", "\x1b[31m", *map(str, range(4)))
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
        assert [one.findtext(f"{SVG}title") for one in lines] == [name.replace("\x1b", "\\x1b") for name in NAMES]
        assert [one.text for one in root.findall(f"{SVG}text")][1:] == [one.findtext(f"{SVG}title") for one in lines]
