"""Download, install and check datasets and weights."""
