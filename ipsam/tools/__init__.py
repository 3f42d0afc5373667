"""Tools around the engine. None of them imports another."""
