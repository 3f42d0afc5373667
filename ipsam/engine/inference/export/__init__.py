"""Export of a model for other programs."""

from ipsam.engine.inference.export.program import check_target, export

__all__ = ["check_target", "export"]
