"""Minimal filtering in one dimension: a k=3 convolution in fewer multiplications."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

TAPS = 3


@dataclass(frozen=True)
class Transform:
    """F(m, 3): m outputs of a k=3 filter g on a window d of n = m + 2 inputs, in n multiplications.

    y = output @ ((weights @ g) * (window @ d)), with output (m, n), weights (n, 3), window (n, n).
    A number added to product `ones` alone is added to all m outputs: the bias goes there.
    """

    output: Matrix
    weights: Matrix
    window: Matrix
    ones: int

    @property
    def outputs(self) -> int:
        """Number m of outputs of a tile."""
        return len(self.output)

    @property
    def products(self) -> int:
        """Number n of multiplications, and of inputs of a tile's window."""
        return len(self.window)


def toom_cook(outputs: int, points: Sequence[int | Fraction]) -> Transform:
    """Build F(outputs, 3) from outputs + 1 distinct points, one of them 1; infinity comes last.

    A window's samples and a filter are taken as polynomials, multiplied at the points, and
    interpolated (Toom-Cook), transposed so that it correlates (S. Winograd, "Arithmetic
    Complexity of Computations", 1980). Computed exactly; rounding grows with the points' size.

    Raises ValueError for other points.
    """
    values = [Fraction(point) for point in points]
    if len(values) != outputs + TAPS - 2 or len(set(values)) != len(values) or 1 not in values:
        raise ValueError(
            f"F({outputs}, {TAPS}) takes {outputs + 1} distinct points, one of them 1: got {points}"
        )
    output = [
        [*(value**power for value in values), Fraction(power == outputs - 1)]
        for power in range(outputs)
    ]
    window, weights = [], []
    for index, value in enumerate(values):
        others = values[:index] + values[index + 1 :]
        window.append([*_with_roots(others), Fraction(0)])
        norm = Fraction(1)
        for other in others:
            norm *= value - other
        weights.append([value**power / norm for power in range(TAPS)])
    window.append(_with_roots(values))
    weights.append([Fraction(power == TAPS - 1) for power in range(TAPS)])
    return Transform(_matrix(output), _matrix(weights), _matrix(window), values.index(Fraction(1)))


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients, lowest power first, of the monic polynomial with these roots."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [*(root * value for value in coefficients), Fraction(0)]
        coefficients = [high - low for high, low in zip(shifted, scaled, strict=True)]
    return coefficients


def _matrix(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return np.array([[float(value) for value in row] for row in rows])


# Larger tiles multiply less, but hold more weights: F(6, 3) was 4 % faster from T = 750 on, took a
# third more memory, and was slower below T = 200.
F43 = toom_cook(4, (0, 1, -1, 2, -2))
