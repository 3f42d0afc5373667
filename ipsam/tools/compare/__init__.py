"""Scores of saved maps: ``request`` finds what to score, ``comparison`` scores it and writes the report."""
