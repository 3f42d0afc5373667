"""Serve a web page that shows a model's predictions."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ipsam.engine.inference.loading import DEFAULT_MODEL, load
from ipsam.engine.inference.model_card import introduction
from ipsam.engine.runs.model_folder import read_description
from ipsam.tools.demo import require_gradio, serving
from ipsam.utils.console import show
from ipsam.utils.serving import free_port, stop_requested


def main(config: DictConfig) -> None:
    """Load the model and serve the page until a signal ends it."""
    port = free_port(config.host, config.port)
    require_gradio()
    ckpt = config.ckpt or DEFAULT_MODEL
    predictor = load(ckpt, device=config.device, precision=config.precision, base=config.base)
    assert predictor.source is not None  # load sets it
    title, about = introduction(read_description(predictor.source), ckpt)
    examples = None if config.examples is None else Path(config.examples)
    where: dict[str, Any] = {"host": config.host, "port": port, "names": config.names}
    stop = stop_requested()
    with serving(predictor, title=title, about=about, examples=examples, **where) as address:
        show(f"{title} is served at {address} (Ctrl-C ends it)")
        while not stop.wait(1):
            pass
