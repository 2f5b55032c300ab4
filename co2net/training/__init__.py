"""The training loop and its parts.

loop             one run: iterate, record, validate, save
train_step       one iteration
batches, sampling              which snippets of which videos
training_data, holdout         the split
validation, best               evaluation and the choice of best.ckpt
checkpoints, resume_state      what is saved and how a run goes on
run_folder, metrics, progress, environment   what a run leaves behind
distributed, devices           where it runs
"""
