"""Command lines of ipsam: one main for each command, which parses, calls the tools or the engine, and prints."""

from ipsam.utils.resources import CONFIGS as CONFIGS
