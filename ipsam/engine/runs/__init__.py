"""Run folders: configuration, provenance, checkpoints, and opening them again."""
