"""A trained network as a file that other runtimes take: ONNX, StableHLO."""
