"""Train a model, then evaluate it."""

from pathlib import Path

from omegaconf import DictConfig

from ipsam.data import Data
from ipsam.engine.evaluate.report import check_fits, evaluate_references, evaluate_run
from ipsam.engine.runs.configuration import as_dict, build_model, drop_checkpoints, settings_of
from ipsam.engine.runs.initial_weights import section_to_build, start_from
from ipsam.engine.runs.plugins import packages_named, trust
from ipsam.engine.runs.provenance import named_sets
from ipsam.engine.runs.run_folder import begin_run, open_run
from ipsam.engine.runs.settings import Settings
from ipsam.engine.runs.trackers import Trackers
from ipsam.engine.train.plan import plan_run, warn_of_cpu
from ipsam.engine.train.trainer import check_can_train, train
from ipsam.utils.console import show
from ipsam.utils.device import processes
from ipsam.utils.processes import weights_from_main
from ipsam.utils.rng import seed_everything


def main(config: DictConfig) -> None:
    """Train the configured model and evaluate it."""
    plugins = [*config.plugins, *packages_named(as_dict(config.model))]
    trust(plugins)
    config.plugins = sorted(set(plugins))  # recorded, but not imported again unless the user names them again
    if config.plan:
        plan = plan_run(config)
        if processes(cpu=config.engine.cpu).is_main_process:
            show("nothing to train: the model is only evaluated" if plan is None else plan.report())
        return
    settings = settings_of(Settings, config.engine, "engine")
    with begin_run(config):
        settings.set_up_process()
        trackers = Trackers(settings.trackers, Path(config.run_dir), as_dict(config))
        data = settings_of(Data, config.data, "data")
        train_set, val_set = data.train_and_val(config.seed)
        test_sets = data.test_sets()  # before training: a missing set should not be found out after a day
        seed_everything(config.seed)
        is_main, section = processes(cpu=settings.cpu).is_main_process, section_to_build(config)
        if not is_main:
            drop_checkpoints(section)
        model = build_model(section)
        init = start_from(config, model) if is_main else None
        weights_from_main(model, settings.device)
        check_can_train(model, train_set, test_sets, settings)
        check_fits(model, test_sets, settings)
        warn_of_cpu(model, train_set, settings)
        folder, resolved = open_run(config, model, named_sets(test_sets, train_set, val_set), init=init)
        references = evaluate_references(model, test_sets, settings) if settings.references else {}
        run = {"folder": folder, "config": resolved, "seed": config.seed, "resume": config.resume}
        with trackers:
            progress = train(
                model, train_set, val_set, test_sets=test_sets, settings=settings, trackers=trackers, **run
            )
            step = 0 if progress is None else progress.step
            evaluate_run(
                model,
                test_sets,
                settings,
                out=folder / "eval",
                epochs=None if progress is None else progress.epoch,
                skipped_steps=None if progress is None else progress.skipped,
                references=references,
                log=lambda group, scores: trackers.log(group, scores, step),
            )
