"""Whether NVIDIA's libraries may round fp32 multiplications to 10 bits (TF32), process-wide.

ONNX Runtime's TensorRT provider has no option for it: only NVIDIA_TF32_OVERRIDE, read when the
libraries start, switches it off (onnxruntime issues 26029 and 6427).
"""

import os

from co2net_runtime.errors import BackendError

VARIABLE = "NVIDIA_TF32_OVERRIDE"

# what the first GPU session of this process was started with; the libraries keep it
_settled: bool | None = None


def settle(allowed: bool, *, by_environment: bool = False) -> None:
    """Forbid TF32 before the first GPU session, unless it is `allowed`; check later ones.

    Args:
        allowed: What this session was asked for.
        by_environment: The engine has no option of its own, so a process that began with TF32
            allowed cannot switch it off any more.

    Raises:
        BackendError: The process began with the other setting, or its environment forbids TF32.
    """
    global _settled
    if allowed and os.environ.get(VARIABLE) == "0":
        why = f"{VARIABLE}=0 is in the environment" if _settled is None else "it began without"
        raise BackendError(f"this process cannot compute in TF32, {why}: start another one")
    if _settled is None:
        _settled = allowed
        if not allowed:
            os.environ[VARIABLE] = "0"
    elif _settled and not allowed and by_environment:
        raise BackendError("this process began with TF32, fp32 needs another one: start it again")
