"""``torch.compile``, its results kept for the next process."""

import os

from torch import nn

from ipsam.engine.base_weights import cache_folder


def compile_model(model: nn.Module) -> None:
    """Have a model compiled at its first call, in place; what the compiler makes is kept in the cache folder.

    It is compiled anew for each shape of the input. The environment variable ``TORCHINDUCTOR_CACHE_DIR`` names another
    folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    model.compile(dynamic=False)
