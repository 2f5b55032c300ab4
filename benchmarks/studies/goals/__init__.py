"""The speed that is promised, measured: one module per kind of goal, one table of all."""
