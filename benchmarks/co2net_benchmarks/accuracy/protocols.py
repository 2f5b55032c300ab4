"""tIoU thresholds as a user writes them, and whose published numbers use the same setting."""

from decimal import Decimal, InvalidOperation

from co2net.evaluation.mean_ap import EvaluationOptions, Protocol

_LEAST_STEP = Decimal("0.001")
# (protocol, first, step, last) -> who publishes numbers in this setting
_USED_BY: dict[tuple[Protocol, str], str] = {
    ("co2net", "0.1:0.1:0.7"): "CO2-Net and programs that evaluate as W-TALC does, on THUMOS14",
    ("activitynet", "0.3:0.1:0.7"): "ActionFormer, TriDet, AFSD and OpenTAD on THUMOS14",
    ("activitynet", "0.1:0.1:0.7"): (
        "weakly supervised programs that evaluate THUMOS14 with ActivityNet's code (BaS-Net)"
    ),
    ("activitynet", "0.5:0.05:0.95"): (
        "ActivityNet's own evaluation; ActionFormer and OpenTAD on ActivityNet and HACS"
    ),
    ("activitynet", "0.1:0.1:0.5"): "ActionFormer and OpenTAD on EPIC-Kitchens 100",
}


def parse_tious(text: str) -> tuple[float, ...]:
    """Read tIoU thresholds.

    Args:
        text: Values and ranges START:STEP:STOP (the stop included), separated by commas:
            ".3:.1:.7", "0.5,0.75,0.95".

    Returns:
        The thresholds, ascending, each once.

    Raises:
        ValueError: It is neither, or a threshold does not lie in (0, 1].
    """
    found: set[Decimal] = set()
    for part in text.split(","):
        try:
            numbers = [Decimal(number) for number in part.split(":")]
        except InvalidOperation as error:
            raise ValueError(f"{part!r}: expected a number or START:STEP:STOP") from error
        if not all(number.is_finite() for number in numbers):
            raise ValueError(f"{part!r}: expected finite numbers")
        if len(numbers) == 1:
            found.add(numbers[0])
        elif len(numbers) == 3 and numbers[1] >= _LEAST_STEP and 0 < numbers[0] <= numbers[2] <= 1:
            start, step, stop = numbers
            found |= {start + step * index for index in range(int((stop - start) / step) + 1)}
        else:
            raise ValueError(
                f"{part!r}: expected a number or START:STEP:STOP within (0, 1], as in .3:.1:.7"
            )
    # decimals, so that 0.1 + 2 * 0.1 is 0.3: predictions do lie exactly on a threshold
    tious = tuple(sorted(float(value) for value in found))
    if not 0 < tious[0] <= tious[-1] <= 1:
        raise ValueError(f"thresholds must lie in (0, 1], got {text}")
    return tious


def used_by(options: EvaluationOptions) -> str:
    """Return who publishes numbers that compare with this setting, in words."""
    within = [
        f"{name} ({span})"
        for (protocol, span), name in _USED_BY.items()
        if protocol == options.protocol and set(parse_tious(span)) <= set(options.tious)
    ]
    return "; ".join(within) or "no published results that we know of: choose --tious with care"
