"""Score saved maps of any method."""

from omegaconf import DictConfig

from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.tools.compare.comparison import score_maps
from ipsam.tools.compare.request import ScoreRequest, find_sets
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder
from ipsam.utils.shards import WHOLE, ranks


def main(config: DictConfig) -> None:
    """Find maps and masks, score them, print and write the results."""
    request = ScoreRequest.of(config)
    sets = find_sets(request)
    if request.out is not None:
        writable_folder(request.out, "out")  # complain now, not after the scoring
    parts, rank = None, ranks(cpu=True)
    if request.shard != WHOLE:
        assert request.out is not None  # ScoreRequest checks it
        listings = {f"{one.method}/{one.dataset}": [*one.paired.listing()] for one in sets}
        parts = Parts.of(request.out, request.shard, sets=listings, protocol=request.protocol.describe())
    try:
        scores = score_maps(
            sets, request.protocol, num_workers=request.num_workers, against=request.against, parts=parts, rank=rank
        )
    except ShardsMissingError as waiting:
        show(waiting)
        return
    if scores is None:
        return
    show(scores)
    if request.out is not None:
        report = scores.write(
            request.out,
            num_examples=request.cases,
            breakdown=request.breakdown,
            parquet=request.parquet,
            num_workers=request.num_workers,
        )
        show(f"report: {report}; beside it metrics.json, the tables as CSV and the curves")
