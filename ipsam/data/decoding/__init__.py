"""Decode image files from anywhere in bounded time and memory: formats and sizes are checked before any pixel is."""
