"""How large a model is."""

from torch import nn


def count(model: nn.Module) -> tuple[float, float]:
    """All and trainable parameters, in millions: the paper's Param and T-Param."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes) / 1e6, sum(size for size, trains in sizes if trains) / 1e6
