"""The measurements behind benchmarks/results. Not installed: python benchmarks/studies/NAME.py."""
