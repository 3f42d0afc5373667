"""Training, evaluation and inference: composes ``ipsam.model`` and ``ipsam.data``."""
