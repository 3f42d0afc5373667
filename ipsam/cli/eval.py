"""Evaluate a trained model."""

from functools import partial
from typing import Any

from omegaconf import DictConfig

from ipsam.data import Data
from ipsam.data.corruptions import chosen_corruptions
from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.engine.evaluate.report import check_fits, evaluate_run
from ipsam.engine.evaluate.robustness import FOLDER, evaluate_corrupted
from ipsam.engine.evaluate.scores import check_parquet
from ipsam.engine.inference.forward import resized
from ipsam.engine.metrics import Protocol
from ipsam.engine.runs.checkpoint import finished_epochs, load_weights, skipped_steps, weights_file
from ipsam.engine.runs.configuration import plain, settings_of
from ipsam.engine.runs.exported_model import open_model
from ipsam.engine.runs.model_folder import run_of
from ipsam.engine.runs.provenance import data_fingerprint, named_sets, warn_of_other_data
from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.settings import Settings
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder
from ipsam.utils.shards import WHOLE, Shard
from ipsam.utils.weights import sha256_of


def main(config: DictConfig) -> None:
    """Rebuild the run's model, load its weights and evaluate it."""
    shard = Shard.parse(config.shard)
    protocol = Protocol.of(plain(config.protocol), plain(config.metrics))
    corruptions = chosen_corruptions(plain(config.corruptions), plain(config.severities))
    if config.parquet:
        check_parquet()
    checkpoint, run_config, out = reopen_run(config)
    settings = settings_of(Settings, run_config.engine, "engine")
    settings.set_up_process()
    test_sets = settings_of(Data, run_config.data, "data").test_sets(foreground_above=protocol.gt_threshold)
    data = named_sets(test_sets)
    warn_of_other_data(run_of(checkpoint), data)
    model = open_model(checkpoint, run_config.model)
    backbone: Any = model.backbone
    with resized(model, config.data.image_size or backbone.image_size):
        check_fits(model, test_sets, settings)
        load_weights(model, checkpoint)
        writable_folder(out, "out")  # complain now, not after the evaluation
        if shard != WHOLE or corruptions:
            parts = partial(
                Parts.of,
                shard=shard,
                weights=sha256_of(weights_file(checkpoint)),
                data={name: data_fingerprint(one) for name, one in data.items()},
                input=[run_config.data.get(name) for name in ("image_size", "letterbox", "scaled_decode")],
                engine=[settings.eval_batch_size, settings.bf16, settings.fast, settings.compile],
                protocol=protocol.describe(),
            )
        how: dict[str, Any] = {"protocol": protocol, "save_maps": config.maps, "parquet": config.parquet}
        try:
            if corruptions:
                evaluate_corrupted(model, test_sets, settings, corruptions, out=out / FOLDER, parts=parts, **how)
                return
            evaluate_run(
                model,
                test_sets,
                settings,
                out=out,
                epochs=finished_epochs(checkpoint),
                skipped_steps=skipped_steps(checkpoint),
                parts=None if shard == WHOLE else parts(out),
                **how,
            )
        except ShardsMissingError as waiting:
            show(waiting)
