"""Score any method's saved maps: python scripts/score.py maps=DIR masks=DIR out=DIR (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.engine.cli import user_errors
from ipsam.engine.folders import writable_folder
from ipsam.engine.score.comparison import score_maps
from ipsam.engine.score.request import Request, find_sets


@hydra.main(version_base="1.3", config_path="../configs", config_name="score")
def main(config: DictConfig) -> None:
    """Find maps and masks, score, print, write."""
    with user_errors():
        request = Request.of(config)
        sets = find_sets(request)
        if request.out is not None:
            writable_folder(request.out, "out")  # complain now, not after the scoring
        scores = score_maps(sets, request.protocol, num_workers=request.num_workers)
        print(scores)
        if request.out is not None:
            report = scores.write(request.out, cases=request.cases)
            print(f"report: {report}; beside it metrics.json, per_image.csv and the curves")


if __name__ == "__main__":
    main()
