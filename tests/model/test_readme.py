"""The guides of ipsam/model/README.md, followed word for word in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
GUIDES = (ROOT / "ipsam" / "model" / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^( *)```\w+\n(.*?)^\1```", re.S | re.M)
# The guides train and test full-size models on real images.
TINY = {
    "Add an operator": "+scale=toy engine.epochs=1 engine.warmup_steps=1 data.synthetic.num_train=8",
    "Add a backbone": "data=synthetic data.image_size=64 "
    "engine.epochs=1 engine.warmup_steps=1 data.synthetic.num_train=8",
    "Add a baseline": "data=synthetic data.image_size=64 "
    "engine.epochs=1 engine.warmup_steps=1 data.synthetic.num_train=8",
}


def follow(guide: str, copy: Path) -> list[list[str]]:
    """Carry out the steps that create or change files; return the commands of the last one."""
    *steps, last = re.split(r"^\d+\. ", GUIDES.split(f"## {guide}\n")[1].split("\n## ")[0], flags=re.M)[1:]
    for step in steps:
        found, (_, block) = re.match(r"(Create|In) `([^`]+)`", step), BLOCK.search(step).groups()
        path, content = copy / found[2], textwrap.dedent(block)
        if found[1] == "Create":
            assert not path.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        else:
            first, second = content.splitlines()
            text = path.read_text(encoding="utf-8")
            text = text.replace("\nfrom ipsam", f"\n{first}\nfrom ipsam", 1)
            path.write_text(text.replace("__all__ = [\n", f"__all__ = [\n{second}\n", 1), encoding="utf-8")
    return [shlex.split(line) for line in textwrap.dedent(BLOCK.search(last)[2]).splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("guide", TINY)
def test_guide_works_as_printed(tmp_path: Path, guide: str) -> None:
    for folder in ("ipsam", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (70, 50)).save(tmp_path / "photos" / "photo.jpg")
    count, train, *others = follow(guide, tmp_path)
    tiny = [*TINY[guide].split(), "data.synthetic.num_test=2", "engine.num_workers=0", "engine.cpu=true"]
    tiny += ["engine.references=false"]
    for command in (count, [*train, *tiny], *others):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("outputs/**/eval/metrics.json"))
    assert bool(others) == (tmp_path / "masks" / "map" / "photo.png").is_file()
