"""``torch.compile``, its results kept for the next process."""

import os

from torch import nn

from ipsam.engine.base_weights import cache_folder

FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def compile_model(model: nn.Module) -> None:
    """Have a model compiled at its first call, in place; what the compiler makes is kept in the cache folder.

    It is compiled anew for each shape of the input. The environment variable ``TORCHINDUCTOR_CACHE_DIR`` names another
    folder.
    """
    # Here, as it takes seconds; once imported, the compiler sets the variable itself, to what a restart may clear.
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    if os.environ.get(FOLDER, default_cache_dir()) == default_cache_dir():
        os.environ[FOLDER] = str(cache_folder() / "compiled")
    model.compile(dynamic=False)
