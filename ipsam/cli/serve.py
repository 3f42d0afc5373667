"""Serve a model over HTTP: image in, mask out."""

from omegaconf import DictConfig

from ipsam.engine.inference.loading import DEFAULT_MODEL, load
from ipsam.engine.inference.model_card import introduction
from ipsam.engine.runs.model_folder import read_description
from ipsam.tools.serve import Limits, build_app, require_fastapi, serving
from ipsam.utils.console import show
from ipsam.utils.serving import free_port, stop_requested

EVERYWHERE = "0.0.0.0"  # noqa: S104 (only compared)


def main(config: DictConfig) -> None:
    """Load the model and serve it until a signal ends it; requests that wait are answered first."""
    port = free_port(config.host, config.port)
    require_fastapi()
    limits = Limits(**{name: config[name] for name in Limits.model_fields})
    ckpt = config.ckpt or DEFAULT_MODEL
    predictor = load(ckpt, device=config.device, precision=config.precision, base=config.base)
    assert predictor.source is not None  # load sets it
    title, about = introduction(read_description(predictor.source), ckpt)
    hosts = ["*"] if config.host == EVERYWHERE and not config.names else [config.host, "localhost", *config.names]
    app = build_app(predictor, title=title, about=about, limits=limits, hosts=hosts)
    stop = stop_requested()
    with serving(app, host=config.host, port=port) as address:
        show(f"{title} is served at {address}/predict, see {address}/docs (Ctrl-C ends it)")
        while not stop.wait(1):
            pass
    show("stopped; every request that waited is answered")
