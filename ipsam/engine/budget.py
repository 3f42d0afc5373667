"""How large a model may be: a configuration may be a stranger's, and must not take all memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

MAX_NUMBER = 8192  # width, depth, size or whatever a model's section sets; the largest in configs/ is 2048
MAX_PARAMETERS = 1_000_000_000  # SAM with ViT-H, the largest model here, has 641 million
MAX_TENSORS = 10_000  # parameters come in; several times what any model here has


@contextmanager
def parameter_budget() -> Iterator[None]:
    """Within it a model's constructor fails by ValueError at the parameter with which it becomes too large."""
    num_tensors = num_parameters = 0

    def count(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal num_tensors, num_parameters
        num_tensors += 1
        num_parameters += 0 if parameter is None else parameter.numel()
        if num_tensors > MAX_TENSORS or num_parameters > MAX_PARAMETERS:
            raise ValueError(
                f"the model is larger than any of this project, with over {MAX_PARAMETERS:,} parameters or "
                f"{MAX_TENSORS:,} tensors of them (the limit was met at {name}): make it narrower or less deep"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
