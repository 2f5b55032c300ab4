"""The training loop and its parts.

loop                           one run: iterate, record, evaluate, save
train_step, schedule           one iteration and its learning rate
batches, sampling              which snippets of which videos
training_data                  videos to train on, to hold out, to evaluate
validation, best               evaluation and the choice of best.ckpt
checkpoints, resume_state      last.ckpt, best.ckpt, and how a run continues
run_folder, metrics, progress, environment   the files and lines of a run
loggers                        TensorBoard, Weights & Biases, MLflow
distributed, devices           where it runs
"""
