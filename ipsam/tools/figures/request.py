"""What scripts/visualize.py is asked to draw, checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ipsam.data.files import normal_stem
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.engine.runs.configuration import plain

MECHANISM, COMPARISON = "mechanism", "comparison"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to draw, see configs/visualize.yaml.

    Exactly one of ``stems``, ``worst`` and ``best`` is not None.
    """

    figure: str
    stems: Sequence[str] | None
    worst: int | None
    best: int | None
    metric: str
    maps: Path | None
    protocol: Protocol

    @classmethod
    def of(cls, config: DictConfig) -> "Request":
        """What the configuration says, checked.

        Raises:
            ValueError: a value is impossible, or it is not said which images to draw.
        """
        figure, metric, maps = config.figure, config.metric, config.maps
        if figure not in (MECHANISM, COMPARISON):
            raise ValueError(f"figure must be {MECHANISM} or {COMPARISON}, not {figure!r}")
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
        if maps is not None and figure != COMPARISON:
            raise ValueError(f"maps={maps}: other methods' maps are shown by figure={COMPARISON}; set that, or no maps")
        ways = {name: plain(config[name]) for name in ("stems", "worst", "best")}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'none of stems, worst and best'} given; say which images to draw by one of "
                "stems=[a,b], worst=4 and best=4"
            )
        for name in ("worst", "best"):
            number = ways[name]
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
                raise ValueError(f"{name} must be a whole number of images, 1 or above, not {number!r}")
        return cls(
            figure=figure,
            stems=None if ways["stems"] is None else _stems(ways["stems"]),
            worst=ways["worst"],
            best=ways["best"],
            metric=metric,
            maps=None if maps is None else Path(str(maps)),
            protocol=Protocol.of(plain(config.protocol)),
        )


def _stems(value: Any) -> list[str]:
    """Each stem once, in the order given."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"stems is a list of images: write stems=[a,b], not {value!r}")
    for stem in value:
        if not isinstance(stem, str | int) or isinstance(stem, bool):
            raise ValueError(f"stems must be names, not {stem!r}; if that is one, quote it twice: stems='[\"{stem}\"]'")
    return list(dict.fromkeys(normal_stem(str(stem)) for stem in value))
