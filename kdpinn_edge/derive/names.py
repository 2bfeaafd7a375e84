"""What a derivative is called: the one authority, for training, the command line, C, ONNX and Python.

    u, v[0]                     an output column
    x, nu, x[0]                 an input column
    u_x, u_xx, u_xt             a derivative: names of one letter run together, in the order of the inputs
    u_nu, u_nu_nu, u_xx_nu      longer names stand alone between underscores
    laplacian(u, x, y)          the sum of u_xx and u_yy
    laplacian(u)                over all inputs

`groups.py` has the requests that stand for several of these.

A request may have the inputs in any order, u_tx, or each alone, u_t_x; both are u_xt. A text that can be read in two
ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from kdpinn_edge.errors import DerivativeError, did_you_mean


@dataclass(frozen=True)
class InputColumn:
    """An input column."""

    column: str


@dataclass(frozen=True)
class Derivative:
    """An output column, differentiated by each input column of `multi_index` in turn; () is the value."""

    column: str
    multi_index: tuple[str, ...] = ()


@dataclass(frozen=True)
class Laplacian:
    """The sum of the second derivatives of an output column along the axes; () is all inputs."""

    column: str
    axes: tuple[str, ...] = ()


Term = InputColumn | Derivative | Laplacian


def parse_requests(text: str) -> tuple[str, ...]:
    """The requests in "u, u_x, laplacian(u, x, y)": separated by commas outside parentheses, without outer blanks.

    Raises DerivativeError where one is empty or a parenthesis has no partner.
    """
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    requests = tuple(part.strip() for part in parts)
    if depth or not all(requests):
        found = "a parenthesis has no partner" if depth else "a request is empty"
        raise DerivativeError(f"{text!r}: {found}; expected: requests such as 'u, u_x, laplacian(u, x, y)'")
    return requests


@dataclass(frozen=True)
class Names:
    """The names that the input columns and the output columns give rise to."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def read(self, request: str) -> Term:
        """The term that `request` asks for. Raises DerivativeError where that is nothing, or more than one thing."""
        readings = self.readings(request.strip())
        if len(readings) == 1:
            return readings[0]
        if readings:
            raise DerivativeError(
                f"{request!r} is {' or '.join(map(str, map(_described, readings)))}; expected: a request with one "
                "reading. Write each input alone, as in u_x_t, or rename an output or an input."
            )
        raise DerivativeError(
            f"{request!r} is no column and no derivative of one; expected: {self._expected()}"
            f"{did_you_mean(request.strip(), self._usual())}"
        )

    def spell(self, term: Term) -> str:
        """The name of `term`. Raises DerivativeError where every spelling could also be read as something else."""
        match term:
            case InputColumn(column):
                return column
            case Laplacian(column, axes):
                return f"laplacian({', '.join((column, *axes))})"
            case Derivative(column, multi_index):
                spellings = (spelled(column, multi_index), "_".join((column, *multi_index)))
                return next((text for text in spellings if self.readings(text) == [term]), None) or self._refuse(term)

    def readings(self, text: str) -> list[Term]:
        """The terms that `text` can mean."""
        if match := re.fullmatch(r"laplacian\((.*)\)", text):
            column, *axes = parse_requests(match[1])
            known = column in self.outputs and set(axes) <= set(self.inputs) and len(set(axes)) == len(axes)
            return [Laplacian(column, self._sorted(axes))] if known else []
        found: list[Term] = []
        if text in self.outputs:
            found.append(Derivative(text))
        elif text in self.inputs:
            found.append(InputColumn(text))
        for column in self.outputs:
            if text.startswith(f"{column}_"):
                found += (Derivative(column, inputs) for inputs in self._multi_indices(text.removeprefix(f"{column}_")))
        return found

    def _multi_indices(self, text: str) -> list[tuple[str, ...]]:
        @cache
        def multi_indices(text: str, after_letter: bool) -> frozenset[tuple[str, ...]]:
            found: set[tuple[str, ...]] = set()
            for name in self.inputs:
                if text.startswith(name) and not (after_letter and len(name) > 1):
                    rest = text.removeprefix(name)
                    if not rest:
                        found.add((name,))
                    elif rest[0] == "_":
                        found |= {self._sorted((name, *multi_index)) for multi_index in multi_indices(rest[1:], False)}
                    elif len(name) == 1:
                        found |= {self._sorted((name, *multi_index)) for multi_index in multi_indices(rest, True)}
            return frozenset(found)

        return sorted(multi_indices(text, False))

    def _sorted(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(columns, key=self.inputs.index))

    def _refuse(self, term: Derivative) -> str:
        raise DerivativeError(
            f"{_described(term)} has no name of its own: {spelled(term.column, term.multi_index)} is also something "
            "else; expected: names that differ. Rename an output or an input."
        )

    def _usual(self) -> Iterator[str]:
        """The columns and their first and second derivatives."""
        yield from self.inputs
        for column in self.outputs:
            yield column
            for name in self.inputs:
                yield spelled(column, (name,))
                yield spelled(column, (name, name))

    def _expected(self) -> str:
        column, last = self.outputs[0], self.inputs[-1]
        examples = ", ".join(
            dict.fromkeys((*(spelled(column, (x,)) for x in self.inputs[:3]), spelled(column, (last, last))))
        )
        return (
            f"an output ({', '.join(self.outputs)}), an input ({', '.join(self.inputs)}), "
            f"a derivative ({examples}, …), laplacian({column}), jacobian or hessian"
        )


def spelled(column: str, multi_index: Sequence[str]) -> str:
    """Spell `column` with the inputs of `multi_index` after it: those of one letter run together."""
    text, alone = column, True
    for name in multi_index:
        text += f"_{name}" if alone or len(name) > 1 else name
        alone = len(name) > 1
    return text


def _described(term: Term) -> str:
    match term:
        case Derivative(column, ()):
            return f"the output {column}"
        case Derivative(column, multi_index):
            return f"the derivative of {column} by {', '.join(multi_index)}"
        case Laplacian(column, axes):
            return f"the Laplacian of {column} over {', '.join(axes) or 'all inputs'}"
        case InputColumn(column):
            return f"the input {column}"
