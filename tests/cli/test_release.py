"""A released package is complete, loads anew, and overwrites nothing."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from support.figure_runs import write_run, write_set

import ipsam
import ipsam.tools.release
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.model_folder import read_description, trained_sets
from ipsam.utils.files import write_text
from ipsam.utils.weights import sha256_of

GIVEN = {"run": "run=run", "name": "name=mine", "out": "out=packages/mine"}


def test_package_is_complete_and_loads(script: Callable[..., Any], picture: np.ndarray) -> None:
    """With scores and maps of the run's own evaluation; in half precision."""
    write_run("run", [write_set("own")], "data.train=[synthetic, CAMO]")
    assert script("eval", "ckpt=run", "maps=true", "engine.num_workers=0").status == 0
    options = ["half=true", "maps=zip", "terms=use: research, teaching", "base_model=me/base", "tags=[medical]"]
    done = script("release", *GIVEN.values(), *options)
    assert done.status == 0, done.err
    package = Path("packages/mine")
    files = ["README.md", "config.json", "maps.zip", "metrics.json", "model.safetensors"]
    assert sorted(path.name for path in package.iterdir()) == files
    assert f"packages/mine: {', '.join(files)}; " in done.out
    assert sha256_of(package / "model.safetensors") in done.out
    card = ModelCard.load(package / "README.md")
    assert card.data.model_name == "mine"
    assert {one.dataset_name for one in card.data.eval_results} == {"own"}
    assert len(card.data.eval_results) == 6
    assert (card.data.license, card.data.base_model, card.data.datasets) == ("other", "me/base", ["CAMO"])
    assert "medical" in card.data.tags
    assert card.data.data_terms == "use: research, teaching"
    assert "to it: use: research, teaching; CAMO: research use (https://" in card.text
    with zipfile.ZipFile(package / "maps.zip") as archive:
        for name in ("own/a.png", "own/b.png", "own/c.png", "own/d.png"):
            assert archive.read(name) == Path("run/eval/maps", name).read_bytes()
    whole, half = (ipsam.load(folder, device="cpu").predict(picture).prob for folder in ("run", package))
    np.testing.assert_allclose(half, whole, atol=0.01)
    assert script("release", "run=run", "name=mine", "out=other", "maps=folder").status == 0
    assert Path("other/maps/own/a.png").is_file()
    assert "\nscores: own\n" in script("release", "run=packages/mine", "name=mine", "out=again").out  # of its card


@pytest.mark.usefixtures("run")
def test_package_of_an_unevaluated_run_says_so(script: Callable[..., Any]) -> None:
    done = script("release", *GIVEN.values())
    assert done.status == 0, done.err
    assert "differ from the run's by 0.0e+00 on average, 0.0e+00 at most" in done.out
    assert "ckpt=run makes them" in done.out
    assert "license: apache-2.0" in Path("packages/mine/README.md").read_text()


def test_package_names_the_data_of_the_model_that_training_started_from(script: Callable[..., Any]) -> None:
    write_run("run", [], "data.train=[CAMO]")
    model = {"name": "first", "trained_on": ["photos", "synthetic"], "terms": "research only"}
    write_text(Path("run/environment.jsonl"), json.dumps({"init": {"source": "/home/me/first", "model": model}}) + "\n")
    done = script("release", *GIVEN.values())
    assert done.status == 0, done.err
    card = ModelCard.load("packages/mine/README.md")
    assert "trained on CAMO from the weights of first (trained on photos, synthetic scenes). It needs" in card.text
    assert "photos: research only" in card.text
    assert card.data.datasets == ["CAMO", "photos"]
    assert trained_sets(read_description(Path("packages/mine"))) == ["CAMO", "photos", "synthetic"]
    assert "/home" not in card.content + Path("packages/mine/config.json").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run": "run=nowhere"}, "no checkpoint at nowhere: give a run's folder"),
        ({"run": "half=true"}, "run=... not given"),
        ({"name": "name=a/b"}, "name must consist of letters, digits, '.', '_' and '-', not 'a/b'"),
        ({"out": "out=run"}, "out=run exists; name another folder, or remove it"),
        ({"more": "maps=zip"}, "ckpt=run maps=true, or leave maps out"),
        ({"more": "maps=tar"}, "maps must be zip, folder or null, not 'tar'"),
        ({"more": "license='MIT, but'"}, "license must be the Hub's name of one"),
        ({"run": "run=private"}, "the terms of use of own, which the model was trained on, are not known: state them"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("run")
def test_refused_release_writes_nothing(script: Callable[..., Any], given: dict[str, str], message: str) -> None:
    write_run("private", [], "data.train=[{name: own, images: a, masks: b}]")
    before = sorted(Path().rglob("*"))
    assert message in script("release", *(GIVEN | given).values()).error
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("run")
def test_package_that_predicts_otherwise_is_not_kept(
    script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(source: Path, folder: Path, **options: Any) -> None:
        save_pretrained(source, folder, **options)
        weights = load_file(folder / "model.safetensors")
        save_file({name: tensor * 1.5 for name, tensor in weights.items()}, folder / "model.safetensors")

    monkeypatch.setattr(ipsam.tools.release, "save_pretrained", damaged)
    for half in ("half=false", "half=true"):
        assert "the package's probabilities differ from the run's" in script("release", *GIVEN.values(), half).error
        assert not Path("packages").exists()
