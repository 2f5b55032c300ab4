"""Independent transcriptions of the published program's method: oracles and baselines."""
