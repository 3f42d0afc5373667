"""Training, evaluation and what surrounds them: composes ``ipsam.model`` and ``ipsam.data``."""

import sam2  # noqa: F401
from hydra.core.global_hydra import GlobalHydra

# Importing sam2 claims Hydra's global state for sam2's own configuration, unless somebody holds it already. It is given
# back here, before anything else of the engine is imported, or else neither @hydra.main nor compose could start.
_state = GlobalHydra.instance()
if _state.is_initialized() and "path=pkg://sam2," in str(_state.config_loader().get_search_path()):
    _state.clear()
