"""Scores found on disk: runs, scored maps, and the line for each file that is left out."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.engine.evaluate.curve import add_epoch
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.engine.runs.run_folder import ADDED
from ipsam.tools.tables.printed import Reference
from ipsam.tools.tables.run_scores import RunScores, find_scores


def only(folder: Path) -> RunScores:
    """Return the single result below a folder, with nothing left out."""
    (result,), left_out = find_scores(folder, CONFIGS)
    assert left_out == []
    return result


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_run(tmp_path: Path) -> None:
    run = save_run(tmp_path / "outputs" / "cod_r16" / "seed2", "cod_r16", seed=2, value=0.25)
    (run / "environment.jsonl").write_text('{"seed": 2}\n{"parameters": {"param": 231.36, "t_param": 18.65}}\n\n')
    reference = run / "eval" / "references" / "untrained"
    reference.mkdir(parents=True)
    (reference / "metrics.json").write_text("{}")
    checkpoint = run / "checkpoints" / "last"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    result = only(tmp_path)
    assert (result.place, result.name, result.seed) == (str(run), "cod_r16", 2)
    assert result.rows == (Reference(1, "IP-SAM (SAM2-L, r16)"),)
    assert list(result.scores) == ["CAMO", "CHAMELEON", "COD10K", "NC4K"]
    assert result.scores["NC4K"]["mae"] == 0.25
    assert (result.remarks, result.param, result.t_param) == ((), 231.36, 18.65)


def test_datasets_take_their_benchmarks_name(tmp_path: Path) -> None:
    datasets = {"kvasir": scores(0.5, 100), "ETIS-LaribPolypDB": scores(0.5, 196), "mine": scores(0.5, 3)}
    save_run(tmp_path / "run", "kvasir_r32", datasets=datasets, paper=None)
    result = only(tmp_path)
    assert list(result.scores) == ["Kvasir-SEG", "ETIS", "mine"]
    assert result.rows == ()


def test_selections_of_a_benchmark_keep_their_own_scores(tmp_path: Path) -> None:
    """The largest one has the benchmark's name, in a curve too."""
    both = {"CVC-ClinicDB-62": scores(0.9, 62), "CVC-ClinicDB-612": scores(0.5, 612)}
    add_epoch(save_run(tmp_path / "run", "kvasir_r32", datasets=both) / "eval" / "curve.csv", 1, both)
    result = only(tmp_path)
    assert {name: of["num_images"] for name, of in result.scores.items()} == {
        "CVC-ClinicDB-62": 62,
        "CVC-ClinicDB": 612,
    }
    best = {name: of["sm"] for name, (_, of) in result.best_epochs.items()}
    assert best == {"CVC-ClinicDB-62": 0.9, "CVC-ClinicDB": 0.5}


IRRELEVANT = [
    *("paths.data=/data", "data.test=[NC4K]", "model.backbone.checkpoint=/weights/large.pt", "engine.num_workers=0"),
    *("engine.num_threads=3", "engine.cpu=true", "engine.eval_batch_size=7"),
    *("engine.log_every=1", "engine.references=true", "engine.save_every=5", "engine.watch_test=2"),
    *("engine.trackers=[]", "engine.profile_steps=[5,6]", "engine.timeout=60"),
]
LOSSES = [f"engine.loss.{name}=2" for name in ("coarse", "refined", "fg", "bg", "auxiliary")]
MANY = [*LOSSES, "engine.epochs=3", "engine.batch_size=2", "engine.accumulate=2", "engine.clip=2", "engine.lr=3e-4"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (IRRELEVANT, None),
        (["engine.epochs=1"], "engine.epochs 1 (100)"),
        (["engine.precision=fp32"], "engine.precision fp32 (auto)"),
        (["model.backbone.checkpoint=null"], "model.backbone.checkpoint none (pretrained)"),
        (
            ["model.backbone.lora=null", "model.backbone.fine_tune=true"],
            "model.backbone.fine_tune true (false), model.backbone.lora null ({...})",
        ),
        (["data.train=[CAMO]"], 'data.train ["CAMO"] (["COD10K", "CAMO"])'),
        (["+model.decoder.colour=red"], "model.decoder.colour red (absent)"),
        (["data.val_fraction=0.1", "engine.lr=2e-4"], "data.val_fraction 0.1 (0.0), engine.lr 0.0002 (0.0001)"),
        (MANY, " and 2 more"),
    ],
)
def test_settings_that_change_scores_are_named(tmp_path: Path, overrides: list[str], expected: str | None) -> None:
    save_run(tmp_path / "run", "cod_r32", *overrides, run_dir="elsewhere", datasets={"NC4K": scores(0.5, 4121)})
    remarks = only(tmp_path).remarks
    assert len(remarks) == (expected is not None)
    for remark in remarks:
        assert remark.startswith("other settings than its experiment (in brackets): ")
        assert remark.endswith(str(expected))


def test_run_without_newer_settings_has_no_remark(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    config = OmegaConf.load(run / "config.yaml")
    for key in ADDED:
        section, _, name = key.rpartition(".")
        if name in (found := OmegaConf.select(config, section) or {}):
            del found[name]
    assert config.engine.pop("terms") == {}
    OmegaConf.save(config, run / "config.yaml")
    assert only(tmp_path).remarks == ()


def test_other_test_sets_than_the_benchmark_are_named(tmp_path: Path) -> None:
    own = "data.test=[{name: camo, images: a, masks: b}, {name: mine, images: a, masks: b}, NC4K]"
    datasets = {"camo": scores(0.5, 250), "mine": scores(0.5, 3), "NC4K": scores(0.5, 20)}
    save_run(tmp_path / "run", "cod_r32", own, datasets=datasets)
    assert only(tmp_path).remarks == ("CAMO from folders given by hand", "20 images of NC4K (published: 4121)")


@pytest.mark.parametrize("name", ["mine", "../../../elsewhere"])
def test_missing_experiment_is_named(tmp_path: Path, name: str) -> None:
    save_run(tmp_path / "run", "cod_r32", name=name)
    assert only(tmp_path).remarks == (f"no such experiment: {name}",)


def test_broken_experiment_is_named(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    (configs / "experiment").mkdir(parents=True)
    (configs / "experiment" / "cod_r32.yaml").write_text("a: 1")
    save_run(tmp_path / "runs" / "run", "cod_r32")
    (result,), _ = find_scores(tmp_path / "runs", configs)
    assert "its experiment cod_r32 can't be composed: " in result.remarks[0]


@pytest.mark.parametrize(("epochs", "remarks"), [(100, ()), (3, ("evaluated after 3 of 100 epochs",)), ("x", ())])
def test_unfinished_run_is_named(tmp_path: Path, epochs: object, remarks: tuple[str, ...]) -> None:
    edit(save_run(tmp_path / "run", "cod_r16") / "eval" / "metrics.json", epochs=epochs)
    assert only(tmp_path).remarks == remarks


@pytest.mark.parametrize(
    "content", ["no\ncurve\n", f"epoch,dataset,{','.join(METRICS)}\n1,CAMO{',nan' * len(METRICS)}\n"]
)
def test_damaged_curve_is_named(tmp_path: Path, content: str) -> None:
    path = save_run(tmp_path / "run", "cod_r16") / "eval" / "curve.csv"
    path.write_text(content)
    (result,), (complaint,) = find_scores(tmp_path, CONFIGS)
    assert result.best_epochs == {}
    assert complaint.startswith(f"{path}")
    assert complaint.endswith("; the tables do not give the best epoch of this run")


def test_maps_of_one_method_in_two_files(tmp_path: Path) -> None:
    first = save_methods(tmp_path / "a", {"ZoomNeXt": {"CAMO": scores(0.1, 250), "NC4K": scores(0.1, 4121)}})
    second = save_methods(tmp_path / "b", {"zoomnext": {"NC4K": scores(0.2, 4121), "COD10K": scores(0.2, 4)}})
    (result,), left_out = find_scores(tmp_path, CONFIGS)
    assert (result.name, result.seed, result.place) == ("ZoomNeXt", None, f"{first}, {second}")
    assert result.settings == {"protocol": Protocol().model_dump()}
    assert {name: values["mae"] for name, values in result.scores.items()} == {"NC4K": 0.1, "COD10K": 0.2, "CAMO": 0.1}
    assert result.remarks == ("4 images of COD10K (published: 2026)",)
    assert left_out == [f"{second}: zoomnext on NC4K is in {first} already, which comes first by path and is used"]


@pytest.mark.parametrize("protocol", [{}, {"gt_threshold": 128}, None])
def test_protocol_without_a_name_is_the_default(tmp_path: Path, protocol: Any) -> None:
    edit(save_run(tmp_path / "run", "cod_r32") / "eval" / "metrics.json", protocol=protocol)
    assert only(tmp_path).name == "cod_r32"


def test_left_out_images_and_scores_above_1_are_remarked(tmp_path: Path) -> None:
    datasets = {
        "CAMO": scores(0.5, 249) | {"num_left_out": 1},
        "mine": scores(0.5, 2, em_max=1.5) | {"num_left_out": 3},
    }
    save_run(tmp_path / "run", "cod_r32", datasets=datasets)
    assert only(tmp_path).remarks == (
        "249 of 250 images of CAMO (published: 250)",
        "2 of 5 images of mine",
        "scores above 1 on mine, whose images have few pixels",
    )


def content(datasets: Any, protocol: Any = "default") -> str:
    return json.dumps({"protocol": protocol, "datasets": datasets})


CAMO = {"CAMO": {"mae": 0.5}}
PROTOCOL = "the tables take 'default' alone: score again with protocol=default"
BROKEN = {
    "half": ('{"protocol": {', "is broken or half-written: "),
    "empty": ("", "is broken or half-written: "),
    "deep": ("[" * 100_000, "is broken or half-written: "),
    "none": (content({}), "holds no scores of any dataset"),
    "nan": (content({"CAMO": {"mae": float("nan")}}), "mae of CAMO must be a number from 0 to 1, not nan"),
    "percent": (content({"CAMO": {"sm": 91.2}}), "sm of CAMO must be a number from 0 to 1, not 91.2"),
    "one pixel": (content({"CAMO": {"em": 4.5e15}}), "em of CAMO must be a number from 0 to 2, not 4"),
    "negative": (content({"CAMO": {"num_images": -1}}), "num_images of CAMO must be a number 0 or above, not -1"),
    "twice": (content({"ETIS": {"mae": 0}, "etis": {"mae": 0}}), "has scores of ETIS twice, under two names"),
    "named": (content(CAMO, {"name": "float"}), f"scored by the protocol 'float'; {PROTOCOL}"),
    "option": (content(CAMO, {"eight_bit": False}), f"scored by the protocol with eight_bit=False; {PROTOCOL}"),
    "same name": (content(CAMO, {"name": "default", "fw_beta2": 0.3}), "with fw_beta2=0.3"),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_scores_are_left_out_in_one_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "bad", "cod_r32") / "eval" / "metrics.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (result,), (line,) = find_scores(tmp_path, CONFIGS)
    assert result.place == str(tmp_path / "good")
    assert line.startswith(str(path))
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        ({"seed": None}, "must tell name and seed of the experiment, not 'cod_r32' and None"),
        ({"paper": {"table": 1, "row": "IP-SAM (SAM2-L, r32)"}}, "paper is a list of {table: ..., row: ...}"),
        ({"engine": None}, "model, data, engine"),
        ({"run_dir": "${paths.outputs}"}, "run_dir"),
        ("!!python/object/apply:os.system ['touch {}/canary']", "is not a plain YAML configuration"),
    ],
    ids=str,
)
def test_broken_configuration_is_left_out_in_one_line(tmp_path: Path, replaced: Any, expected: str) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "bad", "cod_r32") / "config.yaml"
    is_text = isinstance(replaced, str)
    path.write_text(
        replaced.format(tmp_path) if is_text else yaml.safe_dump(yaml.safe_load(path.read_text()) | replaced)
    )
    (_,), (line,) = find_scores(tmp_path, CONFIGS)
    assert str(tmp_path / "bad") in line
    assert expected in line
    assert "\n" not in line
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "text", ['{"parameters": {"param": 2', '{"parameters": [2, 1]}', '{"parameters": {"param": 2}}']
)
def test_broken_parameters_stay_blank(tmp_path: Path, text: str) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    (run / "environment.jsonl").write_text(f'{{"seed": 0}}\n{text}\n')
    (result,), (line,) = find_scores(tmp_path, CONFIGS)
    assert result.param is result.t_param is None
    assert line.startswith(f"{run / 'environment.jsonl'}: ")
    assert line.endswith("; Param and T-Param of this run stay blank")


@pytest.mark.parametrize("text", ["", '{"seed": 0}\n', "[]\n"])
def test_older_runs_have_no_parameters(tmp_path: Path, text: str) -> None:
    (save_run(tmp_path / "run", "cod_r32") / "environment.jsonl").write_text(text)
    assert only(tmp_path).param is None


def test_other_evaluations_and_unevaluated_runs_are_left_out(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    best = run / "eval" / "best" / "metrics.json"
    best.parent.mkdir()
    best.write_text(content({"CAMO": scores(0.9, 250)}, {"name": "default"}))
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (result,), (first, second) = find_scores(tmp_path, CONFIGS)
    assert result.scores["CAMO"]["mae"] == 0.5
    assert first == f"{begun}: begun, but not evaluated"
    assert second.startswith(f"{best}: neither a run's last checkpoint on its own test sets nor methods by name")


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*none: set runs=FOLDER"):
        find_scores(tmp_path / "none", CONFIGS)
    path = save_methods(tmp_path / "scores", {"mine": CAMO}, protocol="float")
    with pytest.raises(ValueError, match=r"no results below .*; looked for runs, .*\n.*protocol 'float'") as error:
        find_scores(tmp_path, CONFIGS)
    assert str(path) in str(error.value)
