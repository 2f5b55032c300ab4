"""Runs on one page, and the comparison of two runs."""
