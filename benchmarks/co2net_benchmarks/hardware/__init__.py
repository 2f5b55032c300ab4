"""The machine behind a figure: its description and its best matrix product."""
