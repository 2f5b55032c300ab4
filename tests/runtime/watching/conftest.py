"""The tests of what an operator watches read it with other people's parsers."""

from importlib.util import find_spec

# a Jetson's Python has none of them
if not all(map(find_spec, ("jsonschema", "prometheus_client"))):
    collect_ignore_glob = ["test_*.py"]
