"""Backbones: a pretrained image encoder with its neck, and a frozen prompt encoder. README.md states the contract."""
