"""Synthetic camouflaged scenes."""
