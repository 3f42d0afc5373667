"""Score any method's saved maps: python scripts/score.py maps=DIR masks=DIR out=DIR (--help tells what can be set)."""

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.tools.compare.comparison import score_maps
from ipsam.tools.compare.request import ScoreRequest, find_sets
from ipsam.utils.folders import writable_folder


@command("score")
def main(config: DictConfig) -> None:
    """Find maps and masks, score, print, write."""
    request = ScoreRequest.of(config)
    sets = find_sets(request)
    if request.out is not None:
        writable_folder(request.out, "out")  # complain now, not after the scoring
    scores = score_maps(sets, request.protocol, num_workers=request.num_workers)
    print(scores)
    if request.out is not None:
        report = scores.write(request.out, num_examples=request.cases)
        print(f"report: {report}; beside it metrics.json, per_image.csv and the curves")
