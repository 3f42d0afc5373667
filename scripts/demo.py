"""A web page that shows what a model makes of your pictures: python scripts/demo.py (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.engine.cli import user_errors
from ipsam.engine.demo import asked_to_stop, free_port, require_gradio, serving
from ipsam.engine.pretrained import load, read_about


@hydra.main(version_base="1.3", config_path="../configs", config_name="demo")
def main(config: DictConfig) -> None:
    """Load the model, serve the page until asked to stop."""
    with user_errors():
        port = free_port(config.host, config.port)
        require_gradio()
        predictor = load(config.ckpt, device=config.device, precision=config.precision, base=config.base)
        title = f"IP-SAM: {read_about(predictor.source).get('name') or config.ckpt}"
        asked = asked_to_stop()
        with serving(predictor, title=title, host=config.host, port=port) as address:
            print(f"{title} is served at {address} (Ctrl-C ends it)", flush=True)
            while not asked.wait(1):
                pass


if __name__ == "__main__":
    main()
