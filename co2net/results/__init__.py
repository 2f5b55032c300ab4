"""Results of runs: summary tables and training curves."""
