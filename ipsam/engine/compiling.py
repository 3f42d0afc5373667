"""``torch.compile``, its results kept for the next process."""

import os
import tempfile
from pathlib import Path

from torch import nn

from ipsam.engine.base_weights import cache_folder

FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def compile_model(model: nn.Module) -> None:
    """Have a model compiled at its first call, in place; what the compiler makes is kept in the cache folder.

    It is compiled anew for each shape of the input. The environment variable ``TORCHINDUCTOR_CACHE_DIR`` names another
    folder.
    """
    if _is_torchs_own(os.environ.get(FOLDER)):
        os.environ[FOLDER] = str(cache_folder() / "compiled")
    model.compile(dynamic=False)


def _is_torchs_own(folder: str | None) -> bool:
    """Whether nobody chose it: once imported, the compiler sets the variable itself, to what a restart may clear."""
    return not folder or Path(folder).match(f"{tempfile.gettempdir()}/torchinductor_*")
