"""Search for the best settings by optuna: one run after another, each chosen by what the earlier ones scored."""

from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from ipsam.cli.sweeps.launcher import check_count
from ipsam.cli.sweeps.runs import Run, parsed
from ipsam.utils.console import show


class Search(Sweeper):
    """Sweeper that maximises a run's last validation score in ``engine.best``.

    Args:
        trials: number of runs.
        at_once: runs that are chosen together, and so can go on at the same time.
        seed: of the sampler (TPE).
        params: overrides of each run, with ranges; those of the command line win.
    """

    def __init__(self, *, trials: Any, at_once: Any, seed: Any, params: DictConfig | None) -> None:
        self.trials, self.at_once, self.seed = trials, at_once, seed
        self.params = {str(key): value for key, value in (params or {}).items()}

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Make the launcher that the configuration names; raise ValueError if an argument is impossible."""
        check_count("hydra.sweeper.trials", self.trials, 1)
        check_count("hydra.sweeper.at_once", self.at_once, 1)
        check_count("hydra.sweeper.seed", self.seed, 0)
        given = {"hydra_context": hydra_context, "task_function": task_function, "config": config}
        self.launcher = Plugins.instance().instantiate_launcher(**given)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials; settings that were tried before are not run again, but count.

        Raises:
            ImportError: optuna is missing.
            ValueError: a run validates nothing.
        """
        try:
            import optuna
        except ImportError as error:
            raise ImportError("hydra/sweeper=optuna needs optuna: pip install -e '.[search]'") from error
        given = parsed([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        overrides = {one.key_or_group: one for one in given}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        runs: dict[tuple[str, ...], Run] = {}
        scores: dict[tuple[str, ...], float | None] = {}
        for first in range(0, self.trials, self.at_once):
            trials = [study.ask() for _ in range(min(self.at_once, self.trials - first))]
            chosen = [tuple(_choose(trial, one) for one in overrides.values()) for trial in trials]
            new = list(dict.fromkeys(one for one in chosen if one not in runs))
            returned = self.launcher.launch(new, initial_job_idx=len(runs)) if new else []
            runs |= {one: done.return_value for one, done in zip(new, returned, strict=True)}
            scores |= {one: _score(runs[one]) for one in new}
            for trial, one in zip(trials, chosen, strict=True):
                failed = optuna.trial.TrialState.FAIL if scores[one] is None else None
                study.tell(trial, scores[one], state=failed)
        ended = {one: score for one, score in scores.items() if score is not None}
        if ended:
            best = max(ended, key=lambda one: ended[one])
            show(f"best: run {runs[best].number}, {' '.join(best)}")


def _score(run: Run) -> float | None:
    """Return a run's last validation score in ``engine.best``, negative where less is better; None if it failed."""
    from ipsam.engine.metrics import METRICS  # these take seconds
    from ipsam.engine.runs.checkpoint import CONFIG, load_training
    from ipsam.engine.runs.configuration import read_config
    from ipsam.engine.runs.store import Store

    if run.status or run.folder is None:
        return None
    newest = Store(run.folder / "checkpoints").newest()
    history = load_training(newest)["progress"]["history"] if newest else []
    if not history:
        raise ValueError("a search needs validation scores: set data.val, or data.val_fraction such as 0.1")
    metric = str(read_config(run.folder / CONFIG).engine.best)
    return METRICS[metric].sign * float(history[-1][metric])


def _choose(trial: Any, override: Override) -> str:
    """Write an override with a value that the sampler chose, if it is a range or a list of values."""
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return f"{key}={override.get_value_element_as_str()}"
    if override.is_interval_sweep():
        is_whole = isinstance(value.start, int) and isinstance(value.end, int)
        suggest = trial.suggest_int if is_whole else trial.suggest_float
        return f"{key}={suggest(key, value.start, value.end, log='log' in value.tags)}"
    return f"{key}={trial.suggest_categorical(key, list(override.sweep_string_iterator()))}"
