"""Estimated costs of training the paper's experiments."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from tqdm import tqdm

from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import Configs, as_dict, compose_experiment
from ipsam.engine.runs.plugins import packages_named, trust
from ipsam.engine.train.plan import notes, plan_run
from ipsam.tools.tables.printed import references

CARDS = ("RTX 3090", "H100")
HEADER = (
    *("experiment", "table", "T-Param", "steps", "GFLOPs a step", "GB a step"),
    *(f"{card}, hours" for card in CARDS),
    *("with checkpointing: GFLOPs", "GB"),
)


def costs_table(configs: Path | Configs, experiments: Sequence[str]) -> str:
    """Estimate what each experiment costs to train, with the published number of images, and format a table."""
    rows = [costs_row(configs, name) for name in tqdm(experiments, unit="model", leave=False, disable=None)]
    return "\n".join([markdown(HEADER, rows), "", notes()])


def costs_row(configs: Path | Configs, name: str) -> list[str]:
    """Return an experiment's row of the table; only its name and tables if it trains nothing."""
    config = compose_experiment(configs, name)
    tables = sorted({row.table for row in references(OmegaConf.to_container(config.paper))})
    head = [name, ", ".join(map(str, tables))]
    trust(packages_named(as_dict(config.model)))
    plan = plan_run(config, published=True) if config.data.train else None
    if plan is None:
        return [*head, *("" for _ in HEADER[len(head) :])]
    straight, recomputed = plan.cells(checkpointing=False, cards=CARDS), plan.cells(checkpointing=True, cards=())
    return [*head, f"{plan.t_param:.2f}", f"{plan.num_steps:,}", *straight, *recomputed]
