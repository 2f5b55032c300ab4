"""Results of runs.

summary        tables and JSON of one run or several seeds, once they have ended
side_by_side   runs compared, finished or not: settings that differ, loss, mAP
curves         a picture of the losses and evaluations
"""
