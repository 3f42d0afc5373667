"""Score saved maps of any method."""

from omegaconf import DictConfig

from ipsam.tools.compare.comparison import score_maps
from ipsam.tools.compare.request import ScoreRequest, find_sets
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder


def main(config: DictConfig) -> None:
    """Find maps and masks, score them, print and write the results."""
    request = ScoreRequest.of(config)
    sets = find_sets(request)
    if request.out is not None:
        writable_folder(request.out, "out")  # complain now, not after the scoring
    scores = score_maps(sets, request.protocol, num_workers=request.num_workers)
    show(scores)
    if request.out is not None:
        report = scores.write(request.out, num_examples=request.cases)
        show(f"report: {report}; beside it metrics.json, per_image.csv and the curves")
