"""One module a command: from its parsed configuration to calls of the tools or the engine."""
