"""Experiments of the paper and those that ship beside them, and the paper's parameter counts to the printed digit."""

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from support.experiments import CONFIGS, FILES, FOLDER, composed, judged_experiments, rows_of

from ipsam.data import Data
from ipsam.data.benchmarks import benchmark
from ipsam.engine.runs.configuration import build_model, compose_experiment, settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.tools.paper.changes import settings_of_run
from ipsam.tools.paper.ledger import Entry, ledger, ledger_table, paper_experiments, rows_of_others
from ipsam.tools.paper.printed import Reference, find_row, paper, references
from ipsam.utils.rng import seed_everything

PAPER = paper_experiments(CONFIGS)

# T-Param in millions as printed in Tables 1 to 3, repeated here to check ipsam/tools/paper/printed.yaml.
PRINTED = {
    "cod_r16": 18.65,
    "cod_r32": 21.26,
    "cod_r64": 26.48,
    "cod_b_r32": 18.07,
    "cod_t_r32": 16.92,
    "ablation/baseline": 9.15,
    "ablation/spg": 17.00,
    "ablation/spg_psg": 18.98,
    "ablation/spg_psg_lat": 19.13,
    "ablation/minimal_spg_direct": 13.85,
    "ablation/minimal_spg": 13.85,
    "ablation/spg_direct": 21.26,
    "ablation/trainable_prompt_encoder": 21.26,
    "ablation/psg_none": 19.27,
    "ablation/psg_subtraction": 19.93,
    "ablation/psg_cross_attention": 19.53,
    "ablation/psg_purified_anchor": 21.26,
    "ablation/lora_qkv": 19.51,
    "ablation/lora_deep": 20.87,
    "ablation/lora_shallow": 16.42,
    "ablation/lora_sparse": 18.63,
    "baseline/sam": 0,
    "baseline/sam_oracle": 0,
    "baseline/sam2": 0,
    "baseline/sam2_oracle": 0,
    "baseline/sam2_amg": 0,
    "baseline/yolov8_sam2": 0,
    "baseline/sam_adapter": 4.25,
    "baseline/medsam": 93.73,
    "baseline/mdsam": 14.57,
}

# Rows whose layers the paper does not specify: ours, and as printed.
NEAR = {
    "ablation/feat_add": (19.28, 19.02),
    "ablation/psg_concatenation": (20.45, 20.37),
    "ablation/default_mask_tokens": (21.19, 21.26),
}
FAR = {  # more than 2 % apart
    "baseline/sam2_adapter": (4.35, 3.94),
    "baseline/sam2_r80": (17.27, 18.96),
}


@pytest.mark.parametrize("name", FILES)
def test_settings_and_data_are_valid(name: str) -> None:
    config = composed(name)
    assert isinstance(settings_of(Settings, config.engine, "engine"), Settings)
    assert isinstance(settings_of(Data, config.data, "data"), Data)


@pytest.mark.parametrize("name", FILES)
def test_header_names_its_command(name: str) -> None:
    first, *lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert first == "# @package _global_"
    comment = "\n".join(line for line in lines if line.startswith("#"))
    assert f"ipsam train experiment={name}" in comment
    rows = rows_of(name)
    if name.startswith("ablation/") and not rows:
        assert "Section 3.2" in comment
    if name.startswith("kvasir/") and not rows:
        assert "Table 4 without a row of its own" in comment
        assert not composed(name).paper  # not the rows of the COD experiment that it starts from
    for row in rows[:1]:
        assert f"{row}: ipsam train experiment={name}" in comment
    for row in rows:
        assert f"Table {row.table}" in comment


@pytest.mark.parametrize("name", PAPER)
def test_experiment_tests_on_all_datasets_of_its_rows(name: str) -> None:
    rows = rows_of(name)
    assert len(set(rows)) == len(rows) > 0
    assert references(OmegaConf.to_container(composed(name).paper)) == rows
    tested = {benchmark(test).name for test in composed(name).data.test}
    for row in rows:
        assert tested >= set(paper()[row.table].datasets)


def test_no_two_experiments_share_a_row_or_all_settings() -> None:
    settings = {name: settings_of_run(composed(name)) for name in PAPER}
    for first, second in itertools.combinations(PAPER, 2):
        assert not set(rows_of(first)) & set(rows_of(second))
        assert settings[first] != settings[second]


@pytest.mark.parametrize("name", FILES)
def test_saved_configuration_has_no_interpolation(name: str) -> None:
    container = OmegaConf.to_container(composed(name), resolve=True, throw_on_missing=True)
    assert "${" not in yaml.safe_dump(container)
    assert composed(name).run_dir == f"outputs/{name}/seed0"


def test_targets_are_of_this_project_or_torch() -> None:
    files = [path for path in CONFIGS.rglob("*.yaml") if FOLDER not in path.parents]
    files += [FOLDER / f"{name}.yaml" for name in FILES]
    targets = {target for path in files for target in re.findall(r"_target_:\s*([^\s,}]+)", path.read_text("utf-8"))}
    assert {"ipsam.model.IPSAM", "ipsam.model.LoRA"} <= targets
    assert all(re.match(r"(ipsam|torch|torchvision)\.", target) for target in targets)


@pytest.mark.parametrize("name", FILES)
def test_experiment_holds_only_its_differences(name: str) -> None:
    """A value that repeats a default would stay behind when the default changes."""

    def repeated(delta: Any, base: Any, key: str) -> list[str]:
        if isinstance(delta, dict) and isinstance(base, dict):
            return [found for k, child in delta.items() for found in repeated(child, base.get(k), f"{key}.{k}")]
        return [key] if delta == base else []

    delta = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    base_name, choices = "cod_r32", []  # cod_r32 is every default of configs/
    for entry in delta.pop("defaults", []):
        if isinstance(entry, str):
            base_name = entry
        else:
            group, choice = next(iter(entry.items()))
            added = not group.startswith("override ")
            choices.append(f"{'+' * added}{group.removeprefix('override ').removeprefix('/')}={choice}")
    delta.pop("paper", None)
    assert repeated(delta, OmegaConf.to_container(composed(base_name, *choices)), name) == []


USERS_OWN = {
    "mine": "engine: {lr: 3}\n",  # without header and command
    "ablation/mine": "# @package _global_\npaper: []\nmodel: {colour: red}\n",
    "kvasir/mine": "paper: [{table: 1, row: mine}]\n",
    "target": "model: {_target_: my_lab.Model}\n",
    "empty": "",
    "list": "- 1\n",
    "broken": "engine: {lr: [\n",
    "latin": b"# \xe9t\xe9\n",
}


def test_users_own_experiment_is_not_judged(tmp_path: Path) -> None:
    """Judged are files that name a row of the paper, and the fixed list ``WITHOUT_ROW`` in support.experiments."""
    shutil.copytree(CONFIGS, tmp_path / "configs")
    for name, content in USERS_OWN.items():
        path = tmp_path / "configs" / "experiment" / f"{name}.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert judged_experiments(tmp_path / "configs") == FILES
    path.write_text('paper: [{table: 2, row: "SPG"}]\n')
    assert set(judged_experiments(tmp_path / "configs")) - set(FILES) == {"latin"}


def test_every_row_of_ours_has_an_experiment() -> None:
    assert PRINTED.keys() | NEAR.keys() | FAR.keys() | {"cod_ft", "kvasir_r32"} <= set(PAPER)
    printed = PRINTED | {name: theirs for name, (_, theirs) in (NEAR | FAR).items()}
    assert printed == {name: float(find_row(rows_of(name)[0]).t_param or 0) for name in printed}
    variants = {Reference(1, row.label) for row in paper()[1].sections[-1].rows}
    components = {Reference(2, row.label) for row in paper()[2].rows}
    choices = {Reference(3, row.label) for row in paper()[3].rows}
    systems = {Reference(1, row.label) for row in paper()[1].sections[1].rows}
    polyps = {Reference(4, row) for row in ("IP-SAM (Ours)", "SAM-Adapter [4]", "MDSAM [7]", "SAM2-Adapter [3]")}
    filled = {row for name in PAPER for row in rows_of(name)}
    assert filled == systems | variants | components | choices | polyps


def check_t_param(name: str) -> None:
    entry, *_ = ledger(CONFIGS, [name])
    assert f"{entry.t_param:.2f}" == f"{PRINTED[name]:.2f}"
    assert float(entry.printed.t_param) == PRINTED[name]
    assert entry.param > entry.t_param


def test_t_param_of_the_smallest_experiment() -> None:
    check_t_param("cod_t_r32")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRINTED.keys() - {"cod_t_r32"}))
def test_t_param_to_the_printed_digit(name: str) -> None:
    check_t_param(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NEAR, *FAR])
def test_t_param_of_unspecified_rows_is_near_and_explained(name: str) -> None:
    ours, printed = (NEAR | FAR)[name]
    entry, *_ = ledger(CONFIGS, [name])
    assert f"{entry.t_param:.2f}" == f"{ours:.2f}"
    assert float(entry.printed.t_param) == printed
    assert (entry.t_param == pytest.approx(printed, rel=0.02)) == (name in NEAR)
    assert entry.reference is not None
    assert entry.reference.why


def test_ledger_lists_rows_without_an_experiment() -> None:
    """These are the specialists, which share one reason."""
    named = [Entry(name, row) for name in PAPER for row in rows_of(name)]
    others = rows_of_others(named)
    specialists = paper()[1].sections[0].rows
    assert [entry.printed.label for entry in others] == [row.label for row in specialists]
    assert [float(entry.printed.t_param) for entry in others] == [274.2, 33.4, 8.30, 71.3, 28.46]
    table = ledger_table(others)
    assert [cell.strip() for cell in table.splitlines()[2].split("|")[1:5]] == ["", "1: FSPNet [14]", "", "274.20"]
    assert table.count("their own code is not part of this project") == 1


def test_two_rows_of_one_model_have_the_same_count() -> None:
    first, second = ledger(CONFIGS, ["ablation/psg_none"])
    assert (str(first.printed.t_param), str(second.printed.t_param)) == ("19.27", "19.11")
    assert first.t_param == second.t_param
    assert second.reference is not None
    assert second.reference.why


def test_ledger_shows_differences_and_reasons() -> None:
    table = ledger_table(
        [
            Entry("one", Reference(1, "IP-SAM (SAM2-L, r32)"), 233.9712, 21.2567),
            Entry("two", Reference(2, "SPG", why="it is too small"), 233.9712, 16.0),
            Entry("three", Reference(4, "IP-SAM (Ours)"), 233.9712, 21.26),
        ]
    )
    header, _, first, second, third, *_ = table.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        *("experiment", "table: row", "T-Param", "paper", "diff", "Param", "paper", "diff")
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (first, second, third)]
    assert cells[0] == ["one", "1: IP-SAM (SAM2-L, r32)", "21.26", "21.26", "+0.00", "233.97", "237.08", "-3.11"]
    assert cells[1] == ["two", "2: SPG", "16.00", "17.00", "-1.00", "233.97", "", ""]
    assert cells[2] == ["three", "4: IP-SAM (Ours)", "21.26", "", "", "233.97", "", ""]
    assert len({len(line) for line in table.splitlines()[:5]}) == 1  # aligned
    assert table.endswith("\n- SPG: it is too small")
    assert "does not name" in table  # the reason for the differences goes with them


@pytest.mark.parametrize(
    "names",
    [
        ("ablation/spg", "ablation/spg_psg"),
        ("ablation/spg_psg_lat", "cod_r32"),
        ("ablation/psg_none", "ablation/psg_subtraction", "cod_r32"),
    ],
)
def test_zero_initialised_residuals_keep_the_initial_output(names: tuple[str, ...]) -> None:
    """PSG, its operators anchored to E+, and refinement do not change the output of a newly built model."""
    image = torch.randn(2, 3, 64, 64)
    outputs = []
    for name in names:
        config = compose_experiment(CONFIGS, name, ["+scale=toy", "data.image_size=64"])
        seed_everything(3)
        outputs.append(build_model(config.model).eval()(image).logits)
    assert outputs[0].abs().max() > 0
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])
