"""The guide "Add a set" of ipsam/data/README.md, followed word for word."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml
from support.map_files import save
from support.run_folders import CONFIGS

from ipsam.data import Data, benchmarks
from ipsam.data.annotations.specs import KINDS
from ipsam.engine.runs.configuration import compose_experiment, settings_of

README = Path(benchmarks.__file__).with_name("README.md").read_text(encoding="utf-8")
OWN, NAMED = README.split("## Add a set")[1].split("### A named set")


def block(section: str, language: str) -> str:
    found = re.search(rf"^( *)```{language}\n(.*?)^\1```", section, re.S | re.M)
    assert found is not None
    return textwrap.dedent(found[2])


def data_of(section: str, root: Path) -> Data:
    """Compose the section's command, with ``root`` in place of /data."""
    program, command, experiment, *overrides = shlex.split(block(section, "bash"))
    assert (program, command) == ("ipsam", "train")
    assert "paths.data=/data" in overrides
    overrides = [f"paths.data={root}" if one == "paths.data=/data" else one for one in overrides]
    config = compose_experiment(CONFIGS, experiment.removeprefix("experiment="), overrides)
    return settings_of(Data, config.data, "data")


def check(data: Data) -> None:
    train_set, _ = data.train_and_val(seed=0)
    (test_set,) = data.test_sets().values()
    assert train_set is not None
    assert (len(train_set), len(test_set)) == (4, 2)
    assert train_set[0]["image"].shape == (3, data.image_size, data.image_size)


def test_own_folders_need_one_command(tmp_path: Path) -> None:
    for folder in re.findall(r"`/data/(mine/\w+/\w+)`", OWN):
        for number in range(4 if "train" in folder else 2):
            save(tmp_path / folder / f"{number}.png")
    check(data_of(OWN, tmp_path))


def test_named_set_needs_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for split, number in (("train", 4), ("test", 2)):
        for kind in ("images", "masks"):
            for stem in range(number):
                save(tmp_path / "MySet" / split / kind / f"{stem}.png")
    source = Path(benchmarks.__file__).read_text(encoding="utf-8")
    before, end, after = source.partition("\n)\nKNOWN")
    entry = block(NAMED, "python")
    compile(f"{before}\n{entry.rstrip()},{end}{after}", "benchmarks.py", "exec")
    added = eval(entry, vars(benchmarks))
    monkeypatch.setitem(benchmarks.KNOWN, added.name, added)
    check(data_of(NAMED, tmp_path))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_annotated_sets_have_the_keys_of_the_table() -> None:
    found = [yaml.safe_load(text) for text in re.findall(r"^\| `(\{name: mine, .*?\})`", OWN, re.M)]
    assert [next(key for key in KINDS if key in spec) for spec in found] == [kind for kind in KINDS if kind != "masks"]
    for spec in found:
        keys = KINDS[next(key for key in KINDS if key in spec)]
        assert set(keys.required) <= spec.keys() - {"name"} <= {*keys.required, *keys.optional}
