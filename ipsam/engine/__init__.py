"""Training, evaluation and what surrounds them: composes ``ipsam.model`` and ``ipsam.data``."""

from hydra.core.global_hydra import GlobalHydra

# Importing sam2 claims Hydra's global state for sam2's own configuration, unless somebody holds it already. It is given
# back here, before anything else of the engine is imported, or else @hydra.main could not start after that import.
_was_free = not GlobalHydra.instance().is_initialized()
import sam2  # noqa: E402, F401

if _was_free:
    GlobalHydra.instance().clear()
