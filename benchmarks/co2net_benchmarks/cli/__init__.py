"""co2net-bench: one file per command; options: what they share, group: their list."""
