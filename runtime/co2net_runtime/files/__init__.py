"""Files on disk.

atomic   files written under a temporary name, synced, then renamed
records  dataclasses to JSON and back, strictly
lock     exclusive use by one process
cache    the cache folder
"""
