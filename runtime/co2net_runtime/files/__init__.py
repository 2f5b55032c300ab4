"""Files on disk.

atomic   text and arrays written under a temporary name, then renamed
digest   hashes, each file read once in a process
lock     one process at a time writes to a folder or file
inputs   files of the user, checked before they are opened
npy      arrays in .npy and .npz files
text     text and JSON
records  dataclasses to JSON and back, strictly
cache    the cache folder
hub      models on the Hugging Face Hub
"""
