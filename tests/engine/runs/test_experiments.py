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
from support.quick import every

from ipsam.data import Data
from ipsam.data.benchmarks import benchmark
from ipsam.engine.runs.configuration import as_dict, build_model, compose_experiment, settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.tools.tables.changes import settings_of_run
from ipsam.tools.tables.ledger import Entry, ledger, ledger_table, paper_experiments, rows_of_others
from ipsam.tools.tables.printed import Reference, paper, references
from ipsam.utils.rng import seed_everything

PAPER = paper_experiments(CONFIGS)

# Rows whose layers the paper does not specify, with our T-Param; those that are FAR are more than 2 % apart.
NEAR = {"ablation/feat_add": "19.28", "ablation/psg_concatenation": "20.45"}
FAR = {"baseline/sam2_r80": "17.27"}
UNFROZEN = "cod_ft"  # the paper counts the prompt encoder, which stays frozen
COUNTED = [name for name in PAPER if rows_of(name)[0].table < 4 and name not in NEAR | FAR and name != UNFROZEN]


@pytest.mark.parametrize("name", every(3, FILES))
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
    tested = {benchmark(test).selection_of or benchmark(test).name for test in composed(name).data.test}
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine", "engine: {lr: 3}\n"),  # without header and command
        ("kvasir/mine", "paper: [{table: 1, row: mine}]\n"),
        *(("broken", content) for content in ("", "- 1\n", "engine: {lr: [\n", "# \xe9t\xe9\n")),
    ],
)
def test_users_own_experiment_is_not_judged(tmp_path: Path, name: str, content: str) -> None:
    """Judged are files that name a row of the paper, and the fixed list ``WITHOUT_ROW`` in support.experiments."""
    shutil.copytree(CONFIGS, tmp_path / "configs")
    path = tmp_path / "configs" / "experiment" / f"{name}.yaml"
    path.write_bytes(content.encode("latin-1"))
    assert judged_experiments(tmp_path / "configs") == FILES
    path.write_text('paper: [{table: 2, row: "SPG"}]\n')
    assert set(judged_experiments(tmp_path / "configs")) - set(FILES) == {name}


@pytest.mark.parametrize(("overrides", "width"), [([], 64), (["model.lateral=null"], 64), (["+scale=toy"], 16)])
def test_minimal_generator_does_without_lateral_inhibition(overrides: list[str], width: int) -> None:
    """It is as wide as lateral inhibition's head, if there is one."""
    config = compose_experiment(CONFIGS, "ablation/minimal_spg", overrides)
    assert as_dict(config.model)["self_prompt"]["hidden"] == width


def test_no_file_refers_to_a_part_that_can_be_left_out() -> None:
    """Any part but backbone and decoder may be null, and an interpolation into it would fail."""
    texts = [path.read_text(encoding="utf-8") for path in CONFIGS.rglob("*.yaml")]
    assert {part for text in texts for part in re.findall(r"\$\{model\.(\w+)\.", text)} == {"decoder"}


def test_every_row_of_ours_has_an_experiment() -> None:
    variants = {Reference(1, row.label) for row in paper()[1].sections[-1][1]}
    components = {Reference(2, row.label) for row in paper()[2].rows}
    choices = {Reference(3, row.label) for row in paper()[3].rows}
    systems = {Reference(1, row.label) for row in paper()[1].sections[1][1]}
    polyps = {Reference(4, row) for row in ("IP-SAM (Ours)", "SAM-Adapter [4]", "MDSAM [7]", "SAM2-Adapter [3]")}
    filled = {row for name in PAPER for row in rows_of(name)}
    assert filled == systems | variants | components | choices | polyps


def check_t_param(name: str) -> None:
    """The printed counts are those of the paper by the checksums of test_printed.py."""
    entry, *_ = ledger(CONFIGS, [name])
    assert f"{entry.t_param:.2f}" == f"{entry.printed.t_param or 0:.2f}"
    assert entry.param > entry.t_param


def test_t_param_of_the_smallest_experiment() -> None:
    check_t_param("cod_t_r32")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COUNTED) - {"cod_t_r32"}))
def test_t_param_to_the_printed_digit(name: str) -> None:
    check_t_param(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NEAR, *FAR])
def test_t_param_of_unspecified_rows_is_near_and_explained(name: str) -> None:
    entry, *_ = ledger(CONFIGS, [name])
    assert f"{entry.t_param:.2f}" == (NEAR | FAR)[name]
    assert (entry.t_param == pytest.approx(float(entry.printed.t_param), rel=0.02)) == (name in NEAR)
    assert entry.reference.why


def test_ledger_lists_rows_without_an_experiment() -> None:
    """These are the specialists, which share one reason."""
    others = rows_of_others([Entry(name, row) for name in PAPER for row in rows_of(name)])
    assert [entry.printed.label for entry in others] == [row.label for row in paper()[1].sections[0][1]]
    table = ledger_table(others)
    assert [cell.strip() for cell in table.splitlines()[2].split("|")[1:5]] == ["", "1: FSPNet [14]", "", "274.20"]
    assert table.count("their own code is not part of this project") == 1


def test_ledger_shows_differences_and_reasons() -> None:
    table = ledger_table(
        [
            Entry("one", Reference(1, "IP-SAM (SAM2-L, r32)"), 233.9712, 21.2567),
            Entry("two", Reference(2, "SPG", why="it is too small"), 233.9712, 16.0),
            Entry("three", Reference(4, "IP-SAM (Ours)"), 233.9712, 21.26),
        ]
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[:5]]
    assert rows[0] == ["experiment", "table: row", "T-Param", "paper", "diff", "Param", "paper", "diff"]
    assert rows[2] == ["one", "1: IP-SAM (SAM2-L, r32)", "21.26", "21.26", "+0.00", "233.97", "237.08", "-3.11"]
    assert rows[3] == ["two", "2: SPG", "16.00", "17.00", "-1.00", "233.97", "", ""]
    assert rows[4] == ["three", "4: IP-SAM (Ours)", "21.26", "", "", "233.97", "", ""]
    assert table.endswith("\n- SPG: it is too small")


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
