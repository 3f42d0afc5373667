"""Scoring saved maps: ``request`` (what to score), ``comparison`` (the scores), and the report they go into."""
