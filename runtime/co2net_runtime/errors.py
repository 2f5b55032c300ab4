"""Errors on the user's side; the command lines turn each into one line and exit code 2."""


class Co2netError(Exception):
    """Base of all errors whose text is meant for the user: one line on the cause and the remedy."""


class InputError(Co2netError):
    """A file, folder, value or option from the user cannot be used."""


class ContractError(InputError):
    """A model file lacks the description that this program needs, or it is damaged."""


class BackendError(Co2netError):
    """An inference engine is missing, refuses the model, or is not the one that was asked for."""


class DeviceLostError(BackendError):
    """After this error a GPU does nothing more for the process: start it again; exit code 4."""


class GateError(Co2netError):
    """A measured value exceeds the bounds that were set; exit code 3."""


class MissingDependencyError(Co2netError):
    """An optional package is not installed; the text names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'co2net[{extra}]'"
        )
