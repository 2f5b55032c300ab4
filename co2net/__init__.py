"""CO2-Net training: a dataset -> checkpoints.

model        the network
config       frozen dataclasses of every setting, and the presets
settings     settings <-> YAML and key=value; yaml_reader and field_comments serve it
checkpoint   a file that rebuilds the model by itself
data         datasets in the layouts that users have
losses       the loss terms
training     the training loop
evaluation   mAP, recall and types of errors
results      tables and pictures of runs
backbone     networks that make features of videos
cli          the command lines; commands: their entry points
aligned      tables as text
"""

from co2net_runtime.version import VERSION as __version__

__all__ = ["__version__"]
