"""The argument MODEL: mistakes that would otherwise look like a damaged or missing file."""

from collections.abc import Sequence
from pathlib import Path

from co2net_runtime.errors import InputError

# suffixes of what training writes
_CHECKPOINTS = (".ckpt", ".pt", ".pth")


def check_model_argument(model: Path, others: Sequence[str]) -> None:
    """Check what was given as MODEL.

    Args:
        model: The argument.
        others: The arguments after it.

    Raises:
        InputError: It is a checkpoint, a folder or a feature file.
    """
    if model.suffix in (".npy", ".npz") or (
        model.suffix != ".onnx" and any(Path(text).suffix == ".onnx" for text in others)
    ):
        raise InputError(f"{model}: not a model: the model comes first, then its input")
    if model.is_file() and (model.suffix in _CHECKPOINTS or _is_checkpoint(model)):
        raise InputError(
            f"{model}: a checkpoint: export it first: co2net-export {model} model.onnx"
        )
    if model.is_dir():
        raise InputError(
            f"{model}: a folder, expected a model file: co2net-export makes one of a training run"
        )


def _is_checkpoint(path: Path) -> bool:
    """Return whether a file is a zip archive or a pickle, as torch.save writes."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04")
