"""Results of finished runs.

summary   tables and JSON of one run or several seeds
curves    a picture of the losses and evaluations
"""
