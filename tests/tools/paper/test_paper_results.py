"""Finding results: what is taken, what is left out and with which words."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.tools.paper.printed import Reference
from ipsam.tools.paper.results import Result, find_results


def only(folder: Path) -> Result:
    """The one result below a folder, with nothing left out."""
    (result,), left_out = find_results(folder, CONFIGS)
    assert left_out == []
    return result


def test_a_run_as_training_leaves_it(tmp_path: Path) -> None:
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


def test_datasets_go_by_their_benchmarks_name(tmp_path: Path) -> None:
    datasets = {"kvasir": scores(0.5, 100), "ETIS-LaribPolypDB": scores(0.5, 196), "mine": scores(0.5, 3)}
    save_run(tmp_path / "run", "kvasir_r32", datasets=datasets)
    assert list(only(tmp_path).scores) == ["Kvasir-SEG", "ETIS", "mine"]


MOVED = [
    *("paths.data=/data", "data.test=[NC4K]", "model.backbone.checkpoint=/weights/large.pt", "engine.num_workers=0"),
    *("engine.num_threads=3", "engine.cpu=true", "engine.eval_batch_size=7"),
    *("engine.log_every=1", "engine.references=true", "engine.save_every=5"),
]


def test_where_things_lie_makes_no_difference(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "cod_r32", *MOVED, run_dir="elsewhere", datasets={"NC4K": scores(0.5, 4121)})
    assert only(tmp_path).remarks == ()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
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
    ],
)
def test_other_settings_are_named(tmp_path: Path, overrides: list[str], told: str) -> None:
    save_run(tmp_path / "run", "cod_r32", *overrides)
    (remark,) = only(tmp_path).remarks
    assert remark.startswith("other settings than its experiment (in brackets): ")
    assert remark.endswith(told)


def test_many_other_settings_are_counted(tmp_path: Path) -> None:
    overrides = [f"engine.loss.{name}=2" for name in ("coarse", "refined", "fg", "bg", "auxiliary")]
    overrides += ["engine.epochs=3", "engine.batch_size=2", "engine.accumulate=2", "engine.clip=2", "engine.lr=3e-4"]
    save_run(tmp_path / "run", "cod_r32", *overrides)
    (remark,) = only(tmp_path).remarks
    assert remark.count("(") == 9
    assert remark.endswith(", and 2 more")


def test_test_sets_that_are_not_the_benchmark(tmp_path: Path) -> None:
    own = "data.test=[{name: camo, images: a, masks: b}, {name: mine, images: a, masks: b}, NC4K]"
    datasets = {"camo": scores(0.5, 250), "mine": scores(0.5, 3), "NC4K": scores(0.5, 20)}
    save_run(tmp_path / "run", "cod_r32", own, datasets=datasets)
    assert only(tmp_path).remarks == ("CAMO from folders given by hand", "20 images of NC4K (published: 4121)")


@pytest.mark.parametrize("name", ["mine", "../../../elsewhere", "cod_r32,seed=3", ""])
def test_an_experiment_that_is_no_more(tmp_path: Path, name: str) -> None:
    save_run(tmp_path / "run", "cod_r32", name=name)
    assert only(tmp_path).remarks == (f"no such experiment: {name}",)


def test_an_experiment_that_can_not_be_composed(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    (configs / "experiment").mkdir(parents=True)
    (configs / "experiment" / "cod_r32.yaml").write_text("a: 1")
    save_run(tmp_path / "runs" / "run", "cod_r32")
    (result,), _ = find_results(tmp_path / "runs", configs)
    assert "its experiment cod_r32 can't be composed: " in result.remarks[0]


def test_runs_of_before_there_were_references(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "quickstart", paper=None)
    assert only(tmp_path).rows == ()


def test_scored_maps(tmp_path: Path) -> None:
    first = save_methods(tmp_path / "a", {"ZoomNeXt": {"CAMO": scores(0.1, 250), "NC4K": scores(0.1, 4121)}})
    second = save_methods(tmp_path / "b", {"zoomnext": {"NC4K": scores(0.2, 4121), "COD10K": scores(0.2, 4)}})
    (result,), left_out = find_results(tmp_path, CONFIGS)
    assert (result.name, result.seed, result.settings, result.place) == ("ZoomNeXt", None, None, f"{first}, {second}")
    assert {name: values["mae"] for name, values in result.scores.items()} == {"NC4K": 0.1, "COD10K": 0.2, "CAMO": 0.1}
    assert result.remarks == ("4 images of COD10K (published: 2026)",)
    assert left_out == [f"{second}: zoomnext on NC4K is in {first} already, which comes first by path and is used"]


def test_without_a_protocols_name_it_is_the_default(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    content = json.loads((run / "eval" / "metrics.json").read_text())
    for protocol in ({}, {"gt_threshold": 128}, None):
        (run / "eval" / "metrics.json").write_text(json.dumps(content | {"protocol": protocol}))
        assert only(tmp_path).name == "cod_r32"


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ({"eight_bit": False}, "with eight_bit=False"),
        ({"min_max": True, "size": 1024, "binarise": True}, "with size=1024, binarise=True"),
        ({"gt_threshold": 0, "fw_beta2": 1}, "with gt_threshold=0"),
        ({"name": "default", "fw_beta2": 0.3}, "with fw_beta2=0.3"),
        ("float", "'float'"),
    ],
    ids=str,
)
def test_other_options_are_another_protocol(tmp_path: Path, protocol: Any, told: str) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "run", "cod_r32") / "eval" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": protocol}))
    (_,), (line,) = find_results(tmp_path, CONFIGS)
    way_out = "the tables take 'default' alone: score again with protocol=default"
    assert line == f"{path}: scored by the protocol {told}; {way_out}"


def test_links_to_runs_are_followed(tmp_path: Path) -> None:
    """But no run counts twice, and a link in a circle leads nowhere."""
    elsewhere = save_run(tmp_path / "elsewhere" / "seed0", "cod_r32")
    own = save_run(tmp_path / "outputs" / "b" / "seed1", "cod_r32", seed=1)
    (tmp_path / "outputs" / "a").symlink_to(own.parent)
    (tmp_path / "outputs" / "linked").symlink_to(elsewhere.parent)
    (elsewhere / "up").symlink_to(tmp_path)
    (own / "circle").symlink_to(tmp_path / "outputs")
    results, left_out = find_results(tmp_path / "outputs", CONFIGS)
    assert [result.place for result in results] == [str(own), str(tmp_path / "outputs" / "linked" / "seed0")]
    assert left_out == []


def scored(datasets: Any, protocol: Any = None) -> str:
    return json.dumps({"protocol": {"name": protocol or "default"}, "datasets": datasets})


BROKEN = {
    "half": ('{"protocol": {', "is broken or half-written: "),
    "empty": ("", "is broken or half-written: "),
    "bytes": (b"\xff\xfe\x00", "is broken or half-written: "),
    "deep": ("[" * 100_000, "is broken or half-written: "),
    "list": ("[]", "holds no scores"),
    "nothing": ("{}", "holds no scores of any dataset"),
    "none": (scored({}), "holds no scores of any dataset"),
    "words": (scored({"CAMO": "good"}), "CAMO holds no scores"),
    "word": (scored({"CAMO": {"mae": "0.03"}}), "mae of CAMO is '0.03', no number that it could be"),
    "nan": (scored({"CAMO": {"mae": float("nan")}}), "mae of CAMO is nan, no number that it could be"),
    "percent": (scored({"CAMO": {"sm": 91.2}}), "sm of CAMO is 91.2, no number that it could be"),
    "true": (scored({"CAMO": {"sm": True}}), "sm of CAMO is True, no number that it could be"),
    "negative": (scored({"CAMO": {"num_images": -1}}), "num_images of CAMO is -1, no number that it could be"),
    "twice": (scored({"ETIS": {"mae": 0}, "etis": {"mae": 0}}), "has scores of ETIS twice, under two names"),
    "float": (scored({"CAMO": scores(0.5, 250)}, "float"), "scored by the protocol 'float'; the tables take 'default'"),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "bad", "cod_r32") / "eval" / "metrics.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (result,), (line,) = find_results(tmp_path, CONFIGS)
    assert result.place == str(tmp_path / "good")
    assert line.startswith(str(path))
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"seed": None}, "must tell name and seed of the experiment, not 'cod_r32' and None"),
        ({"name": 3}, "must tell name and seed of the experiment, not 3 and 0"),
        ({"paper": {"table": 1, "row": "IP-SAM (SAM2-L, r32)"}}, "paper is a list of {table: ..., row: ...}"),
        ({"paper": [{"table": 1, "row": "mine"}]}, 'the paper has no Table 1, row "mine"'),
        ({"engine": None}, "is not a run's configuration: it must hold model, data, engine"),
        ({"run_dir": "${paths.outputs}"}, "holds interpolations"),
        ({"seed": "???"}, "leaves a value open (at seed)"),
        ({1.5: {None: 2}}, "is not a plain configuration: a key of type float"),
    ],
    ids=str,
)
def test_a_broken_configuration_is_one_line(tmp_path: Path, replaced: dict[Any, Any], told: str) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "bad", "cod_r32") / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | replaced))
    (_,), (line,) = find_results(tmp_path, CONFIGS)
    assert line.startswith(str(tmp_path / "bad"))
    assert told in line
    assert "\n" not in line


def test_code_in_a_configuration_is_not_run(tmp_path: Path) -> None:
    save_run(tmp_path / "good", "cod_r32")
    path = save_run(tmp_path / "bad", "cod_r32") / "config.yaml"
    path.write_text(f"!!python/object/apply:os.system ['touch {tmp_path}/canary']")
    (_,), (line,) = find_results(tmp_path, CONFIGS)
    assert f"{path} is not a plain YAML configuration" in line
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"parameters": {"param": 2', "Unterminated|Expecting"),
        ('{"parameters": [2, 1]}', "parameters must be {param: millions, t_param: millions}"),
        ('{"parameters": {"param": "2", "t_param": 1}}', "parameters must be"),
    ],
)
def test_parameters_that_can_not_be_read(tmp_path: Path, text: str, told: str) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    (run / "environment.jsonl").write_text(f'{{"seed": 0}}\n{text}\n')
    (result,), (line,) = find_results(tmp_path, CONFIGS)
    assert result.param is result.t_param is None
    assert line.startswith(f"{run / 'environment.jsonl'}: ")
    assert any(words in line for words in told.split("|"))
    assert line.endswith("; Param and T-Param of this run stay blank")


@pytest.mark.parametrize("text", ["", "\n", '{"seed": 0}\n', "[]\n"])
def test_without_parameters(tmp_path: Path, text: str) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    (run / "environment.jsonl").write_text(text)
    assert only(tmp_path).param is None


def test_what_is_no_runs_own_evaluation_is_told(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "cod_r32")
    best = run / "eval" / "best" / "metrics.json"
    best.parent.mkdir()
    best.write_text(scored({"CAMO": scores(0.9, 250)}))
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (result,), left_out = find_results(tmp_path, CONFIGS)
    assert result.scores["CAMO"]["mae"] == 0.5
    assert left_out == [
        f"{begun}: begun, but not evaluated",
        f"{best}: neither a run's last checkpoint on its own test sets nor methods by name; "
        "if scripts/score.py wrote it, score maps=<the folder above the method's>, so that the method has a name",
    ]


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*none: set runs=FOLDER to the one that the runs are in"):
        find_results(tmp_path / "none", CONFIGS)
    with pytest.raises(
        ValueError, match=r"no results below .*; looked for runs, .* with config\.yaml and eval/metrics"
    ):
        find_results(tmp_path, CONFIGS)
    path = save_methods(tmp_path / "scores", {"mine": {"CAMO": scores(0.5, 250)}}, protocol="float")
    with pytest.raises(ValueError, match=r"with the key methods \(of scripts/score.py\)\n.*protocol 'float'") as error:
        find_results(tmp_path, CONFIGS)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("epochs", "remarks"), [(100, ()), (3, ("evaluated after 3 of 100 epochs",)), ("x", ())])
def test_a_run_evaluated_before_its_end_is_told(tmp_path: Path, epochs: object, remarks: tuple[str, ...]) -> None:
    run = save_run(tmp_path / "run", "cod_r16")
    file = run / "eval" / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"epochs": epochs}))
    assert only(tmp_path).remarks == remarks
