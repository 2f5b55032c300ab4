"""The command lines co2net-train and co2net-data.

train             co2net-train: its options; train_job: its work
data              co2net-data
dataset_options   options of every command that takes a dataset
inspection_text   the report of co2net-data inspect as text
"""
