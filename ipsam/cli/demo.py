"""Serve a web page that shows a model's predictions."""

from omegaconf import DictConfig

from ipsam.engine.inference.predictor import load
from ipsam.engine.runs.model_folder import read_description
from ipsam.engine.runs.model_names import DEFAULT_MODEL
from ipsam.tools.demo import free_port, require_gradio, serving, stop_requested
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Load the model and serve the page until a signal ends it."""
    port = free_port(config.host, config.port)
    require_gradio()
    ckpt = config.ckpt or DEFAULT_MODEL
    predictor = load(ckpt, device=config.device, precision=config.precision, base=config.base)
    assert predictor.source is not None  # load sets it
    title = f"IP-SAM: {read_description(predictor.source).get('name') or ckpt}"
    stop = stop_requested()
    with serving(predictor, title=title, host=config.host, port=port, names=config.names) as address:
        show(f"{title} is served at {address} (Ctrl-C ends it)")
        while not stop.wait(1):
            pass
