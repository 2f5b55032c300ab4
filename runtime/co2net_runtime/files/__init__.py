"""Files on disk.

atomic   text and arrays written under a temporary name, then renamed
records  dataclasses to JSON and back, strictly
cache    the cache folder
"""
