"""A model is found by its name, and a name says which model."""

import inspect
from pathlib import Path

import pytest

import ipsam
from ipsam.engine.inference.loading import DEFAULT_MODEL
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.model_names import model_names
from ipsam.utils.resources import CHECKPOINTS


def test_folder_of_checkpoints_is_a_name(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect.signature(ipsam.load).parameters["source"].default == DEFAULT_MODEL in model_names()
    monkeypatch.setattr("ipsam.engine.runs.model_names.CHECKPOINTS", tmp_path / "shipped")
    predictor.save_pretrained(tmp_path / "shipped" / "mine")
    monkeypatch.chdir(tmp_path)
    assert ipsam.load("mine", device="cpu").source == tmp_path / "shipped" / "mine"
    with pytest.raises(FileNotFoundError, match=r"no model at mien \(did you mean mine\?\).* these names: mine$"):
        ipsam.load("mien")
    with pytest.raises(ValueError, match="revision=v1: the name mine stands for one version; give the id of a model"):
        ipsam.load("mine", revision="v1")


def test_folder_called_micro_does_not_hide_the_model(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "micro").mkdir()
    (tmp_path / "micro" / "photo.jpg").touch()
    for builtin in ("micro", Path("micro")):
        assert ipsam.load(builtin, device="cpu").source == CHECKPOINTS / "micro"
    predictor.save_pretrained("micro")
    with pytest.raises(ValueError, match=r"micro is a name of a model that ipsam knows, .* write \./micro for"):
        ipsam.load("micro")
    for own in ("./micro", Path("micro")):
        assert ipsam.load(own, device="cpu").source == Path("micro")


@pytest.mark.parametrize("place", ["nowhere", "/no/such/folder", "a/b/c", "./x/y", "."])
def test_missing_model_is_named(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        "no checkpoint at" if place == "." else rf"no model at {place}: give the folder of a run.* these names: .*micro"
    )
    with pytest.raises(FileNotFoundError, match=message):
        ipsam.load(place)


@pytest.mark.parametrize(
    ("source", "meant"),
    [("runs/quikstart", "runs/quickstart"), ("runs/quickstart/sead0", "runs/quickstart/seed0"), ("mirco", "micro"),
     ("./rums", "runs"), ("rums/quickstart/seed0", "runs")],
)  # fmt: skip
def test_mistyped_path_is_not_asked_of_the_hub(
    source: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ipsam.engine.runs.model_folder.download_model", None)
    (tmp_path / "runs" / "quickstart" / "seed0").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=rf"no model at {source} \(did you mean {meant}\?\): give the folder"):
        ipsam.load(source)
