"""Export a model to ONNX, OpenVINO or torch.export."""

from pathlib import Path

from omegaconf import DictConfig

from ipsam.data.files import image_files
from ipsam.engine.inference.export import check_target, export
from ipsam.engine.inference.loading import DEFAULT_MODEL, load
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.configuration import given
from ipsam.engine.runs.exported_file import weights_of
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Load the model and export it."""
    pictures = () if config.calibration is None else image_files(Path(config.calibration).expanduser())
    if config.calibration is not None and not pictures:
        raise ValueError(f"calibration={config.calibration}: no pictures directly in it; name a folder that has some")
    output = check_target(given(config, "output"), config.precision, calibrated=bool(pictures))
    predictor = load(config.ckpt or DEFAULT_MODEL, device="cpu", precision="fp32", base=config.base, fast=False)
    if not isinstance(predictor, Predictor):
        raise ValueError(f"ckpt={config.ckpt} is exported already: name a run, a checkpoint or a model's folder")
    path = export(predictor, output, config.precision, pictures)
    size = sum(file.stat().st_size for file in {path, weights_of(path)})
    show(f"{path}: {size / 1e6:.1f} MB")
