"""Run files for people: one page of them all, or two compared.

report, page   the page; overview, charts: its table and pictures
compare_runs   slower or larger than before?
"""
