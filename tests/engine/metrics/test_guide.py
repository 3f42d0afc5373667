"""The guide "Add a metric" in ipsam/engine/metrics/README.md, followed word for word in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ipsam

SCORE = """
import json
import numpy as np
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import Protocol

prediction, mask = np.array([[255, 0], [51, 0]], np.uint8), np.array([[255, 0], [0, 0]], np.uint8)
evaluation = score_set("set", [lambda: ("image", prediction, mask)], 1, protocol=Protocol(), num_workers=0)
print(json.dumps([evaluation.datasets["set"], evaluation.images["set"][0], evaluation.protocol.describe()]))
"""


def test_a_metric_takes_one_entry(tmp_path: Path) -> None:
    package = Path(ipsam.__file__).parent
    guide = (package / "engine/metrics/README.md").read_text(encoding="utf-8").partition("## Add a metric")[2]
    (path,) = re.findall(r"In `ipsam/(\S+)`, add a last entry to `_ENTRIES`", guide)
    (entry,) = re.findall(r"```python\n(.*?) *```", guide, re.DOTALL)
    shutil.copytree(package, tmp_path / "ipsam", ignore=shutil.ignore_patterns("__pycache__"))
    registry = tmp_path / "ipsam" / path
    before, end, after = registry.read_text(encoding="utf-8").partition("\n)\nMETRICS = ")
    registry.write_text(before + "\n" + re.sub("^   ", "", entry, flags=re.MULTILINE).rstrip() + end + after)

    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCORE], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores, row, protocol = json.loads(done.stdout)
    assert scores["rmse"] == row["rmse"] == (0.2**2 / 4) ** 0.5
    assert protocol["rmse"] == "root mean squared error"
