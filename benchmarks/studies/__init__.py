"""Studies behind benchmarks/results: run by hand, not installed."""
