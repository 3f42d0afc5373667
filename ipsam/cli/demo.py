"""A web page that shows what a model makes of your pictures: python scripts/demo.py (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.engine.inference.predictor import load
from ipsam.engine.runs.model_folder import read_about
from ipsam.tools.demo import asked_to_stop, free_port, require_gradio, serving


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="demo")
def main(config: DictConfig) -> None:
    """Load the model, serve the page until asked to stop."""
    with user_errors():
        port = free_port(config.host, config.port)
        require_gradio()
        predictor = load(config.ckpt, device=config.device, precision=config.precision, base=config.base)
        assert predictor.source is not None  # load sets it
        title = f"IP-SAM: {read_about(predictor.source).get('name') or config.ckpt}"
        asked = asked_to_stop()
        with serving(predictor, title=title, host=config.host, port=port) as address:
            print(f"{title} is served at {address} (Ctrl-C ends it)", flush=True)
            while not asked.wait(1):
                pass
