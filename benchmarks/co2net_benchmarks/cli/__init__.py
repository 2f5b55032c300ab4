"""co2net-bench: one file per command."""
