"""Pack a trained model to publish it."""

from omegaconf import DictConfig

from ipsam.tools.release import ReleaseRequest, release
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder


def main(config: DictConfig) -> None:
    """Write the package, check it and print what it holds and how to publish it."""
    request = ReleaseRequest.of(config)
    writable_folder(request.out.parent, "out")
    made = release(request)
    files = [path for path in sorted(made.folder.rglob("*")) if path.is_file()]
    top = sorted({path.relative_to(made.folder).parts[0] for path in files})
    show(f"{made.folder}: {', '.join(top)}; {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    show(f"sha256 of the weights: {made.sha256}")
    mean, largest = made.differences
    show(f"loaded anew, its probabilities differ from the run's by {mean:.1e} on average, {largest:.1e} at most")
    show(
        f"scores: {', '.join(made.scored)}"
        if made.scored
        else f"scores: none; ipsam eval ckpt={request.run} makes them"
    )
    show(f"to publish it: hf upload {request.repo_id or f'YOU/{request.name}'} {made.folder}")
