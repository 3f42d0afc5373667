"""The paper's Figures 3 and 4, of any run and any of its images.

``request`` holds what is asked for, ``choice`` finds the images that are meant, ``view`` tells what a model makes of
them, ``columns`` what the figures show, ``pictures`` in which colours; ``page`` puts it on paper, ``draw`` does it all.
"""
