from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from ipsam.engine.metrics import METRICS, Protocol
from ipsam.tools.figures.request import Request

CONFIG = Path(__file__).parents[3] / "configs" / "visualize.yaml"


def config(**changes: Any) -> DictConfig:
    loaded = OmegaConf.merge(OmegaConf.load(CONFIG), changes)
    assert isinstance(loaded, DictConfig)
    return loaded


def test_what_is_asked_for() -> None:
    request = Request.of(config(stems=["b", 7, "a", "b"]))
    assert request == Request(
        figure="mechanism", stems=["b", "7", "a"], worst=None, best=None, metric="sm", maps=None, protocol=Protocol()
    )
    other = Request.of(config(figure="comparison", maps="m", worst=3, metric="mae", protocol={"size": 64}))
    assert (other.figure, other.maps, other.worst, other.metric) == ("comparison", Path("m"), 3, "mae")
    assert other.protocol.size == 64


def test_stems_are_compared_as_files_are() -> None:
    assert Request.of(config(stems=["e\u0301te\u0301"])).stems == ["\u00e9t\u00e9"]  # accents as macOS stores them


def test_the_configuration_names_every_metric() -> None:
    (line,) = [line for line in CONFIG.read_text().splitlines() if line.startswith("metric:")]
    assert line.partition("which metric: ")[2].split(" | ") == list(METRICS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figure": 4}, "figure must be mechanism or comparison, not 4"),
        ({"best": 1, "metric": "dice"}, "metric must be one of mae, fw, sm,.* not 'dice'"),
        ({"best": 1, "maps": "m"}, "maps=m: other methods' maps are shown by figure=comparison; set that, or no maps"),
        ({}, r"none of stems, worst and best given; say which images to draw by one of stems=\[a,b\], worst=4 and"),
        ({"worst": 1, "best": 2}, "worst and best given; say which images to draw by one of"),
        ({"stems": ["a"], "best": 2}, "stems and best given; say which"),
        ({"worst": 0}, "worst must be a whole number of images, 1 or above, not 0"),
        ({"best": 2.5}, "best must be a whole number of images, 1 or above, not 2.5"),
        ({"best": True}, "best must be a whole number of images, 1 or above, not True"),
        ({"best": "all"}, "best must be a whole number of images, 1 or above, not 'all'"),
        ({"stems": "a"}, r"stems is a list of images: write stems=\[a,b\], not 'a'"),
        ({"stems": []}, r"stems is a list of images: write stems=\[a,b\], not \[\]"),
        (
            {"stems": [1e5]},
            r"stems must be names, not 100000\.0; if that is one, quote it twice: stems='\[\"10",
        ),
        ({"stems": [True]}, "stems must be names, not True"),
        ({"stems": [None]}, "stems must be names, not None"),
        ({"best": 1, "protocol": "mine"}, "unknown protocol 'mine'"),
    ],
)
def test_impossible_requests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Request.of(config(**changes))
