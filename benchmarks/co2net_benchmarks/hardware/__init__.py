"""The machine behind a figure: its description, its energy, its best matrix product."""
