"""How far Prompt-Space Gating moves the dense prompt, read off a model as it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn


@contextmanager
def energy_changes(model: nn.Module) -> Iterator[list[Float[Tensor, "b 1 h w"]]]:
    """Collects, from each forward pass, the L2 norm over channels of what the gating makes of E+, less E+.

    A hook sees both, whichever operator is in PSG's place, and neither slows other passes nor adds to their output.
    Nothing is collected from a model without an operator.
    """
    changes: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor | None]) -> None:
        # In fp32, as in bf16 the difference of two near embeddings would be mostly rounding.
        changes.append((made[0].float() - given[0].float()).norm(dim=1, keepdim=True))

    gating = getattr(model, "gating", None)
    if gating is None:
        yield changes
        return
    handle = gating.register_forward_hook(note)
    try:
        yield changes
    finally:
        handle.remove()
