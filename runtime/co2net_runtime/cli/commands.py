"""Which commands co2net installs, with a line on each."""

from importlib.metadata import PackageNotFoundError, distribution

from co2net_runtime.cli.entry import Entry
from co2net_runtime.errors import MissingDependencyError


def list_commands(package: str = "") -> str:
    """Return a line for each command that is installed.

    Args:
        package: Only those whose code lies in this package.

    Raises:
        MissingDependencyError: co2net is run from a folder without having been installed.
    """
    try:
        scripts = distribution("co2net").entry_points
    except PackageNotFoundError as error:
        raise MissingDependencyError("co2net itself", "cpu", "a list of the commands") from error
    helps: dict[str, str] = {}
    for script in sorted(scripts, key=lambda script: script.name):
        if script.group == "console_scripts" and script.value.startswith(package):
            try:
                found = script.load()
                command = found.load() if isinstance(found, Entry) else found
                helps[script.name] = command.get_short_help_str(120)
            except ImportError as error:
                helps[script.name] = f"cannot start here: {error}"
    width = max(map(len, helps), default=0)
    lines = [f"  {name:{width}}  {text}" for name, text in helps.items()]
    return "\n".join(["Commands, each with --help:", *lines])
