"""The classical baseline: hand-made features and a linear classifier, on the sources and splits of a training run.

`pictures` reads, `hog` and `sift` describe, `classifier` fits and chooses, `run` does it all and writes what a
training run writes. `jaxcls baseline` is its command line.
"""
