"""What a model is called in an FMU: its variables, their value references, and which derivatives there are of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count

from kdpinn_edge.bundle.manifest import FunctionName, Input, Output
from kdpinn_edge.bundle.probe import probed
from kdpinn_edge.derive.names import Derivative, Names, Term
from kdpinn_edge.errors import DerivativeError
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.program.ir import Var, columns


@dataclass(frozen=True)
class Variable:
    """A variable of `size` numbers, whose value references begin at `reference`.

    `causality` and `variability` are words of the standard. `start` has the numbers of an input or parameter.
    """

    name: str
    reference: int
    causality: str
    variability: str = "continuous"
    unit: str | None = None
    lower: float | None = None
    upper: float | None = None
    start: tuple[float, ...] = ()
    size: int = 1


@dataclass(frozen=True)
class Variables:
    """`inputs`, `outputs` and `time` are of one number each, and their value references count them in this order.

    `places` has for each output which number it is of all functions together, one after the other; `derivatives`, where
    every variable of causality "output" has a derivative by every input, which one each of these is, or -1.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    time: Variable
    places: tuple[int, ...]
    derivatives: tuple[tuple[int, ...], ...]
    arrays: tuple[tuple[int, Var], ...]

    @property
    def scalars(self) -> tuple[Variable, ...]:
        """All variables but time, each number one of its own: those of FMI 2.0, where time is understood."""
        return (*self.inputs, *self.outputs)

    @property
    def with_arrays(self) -> tuple[Variable, ...]:
        """All variables of FMI 3.0: numbers of one vector that differ in nothing but their index are one array."""
        scalars = self.scalars
        found = {
            first: replace(
                scalars[first],
                name=var.name,
                size=var.size,
                start=tuple(number for each in scalars[first : first + var.size] for number in each.start),
            )
            for first, var in self.arrays
        }
        inside = {i for first, array in found.items() for i in range(first + 1, first + array.size)}
        return (*(found.get(i, each) for i, each in enumerate(scalars) if i not in inside), self.time)


def variables(interface: Interface, outputs: Mapping[FunctionName, Sequence[Output]]) -> Variables:
    """The variables of a model; `outputs` describes the columns of each function.

    Inputs that are constant during a call are tunable parameters. A column of the jet that is called as an input or an
    output is not there twice; one of the residual has the name of its function before its own. Where the jet has the
    derivatives of all values by all inputs, the FMU gives directional derivatives: columns whose own derivatives are
    not known are local variables then, since the standard asks for those of every output.
    """
    inputs = tuple(
        _input(i, column, constant=column.name in interface.per_call) for i, column in enumerate(interface.inputs)
    )
    places: list[int] = []
    found: list[Variable] = []
    taken = {each.name for each in inputs}
    for place, (function, column) in enumerate((f, column) for f in interface.functions for column in outputs[f]):
        if function == "jet" and column.name in taken:
            continue
        name = column.name if column.name not in taken else f"{function}.{column.name}"
        taken.add(name)
        places.append(place)
        found.append(Variable(name, len(inputs) + len(found), "output", unit=column.unit))
    table = _derivatives(interface, places)
    if table:
        found = [
            replace(each, causality="local" if -1 in row else "output") for each, row in zip(found, table, strict=True)
        ]
    name = next(name for name in _names_of_time() if name not in taken)
    time = Variable(name, len(inputs) + len(found), "independent")
    every = Variables(inputs, tuple(found), time, tuple(places), table, ())
    return replace(every, arrays=tuple(_arrays(interface, every.scalars)))


def _input(reference: int, column: Input, *, constant: bool) -> Variable:
    low, high = probed(column)
    return Variable(
        column.name,
        reference,
        *(("parameter", "tunable") if constant else ("input", "continuous")),
        unit=column.unit,
        lower=column.lower,
        upper=column.upper,
        start=(low + (high - low) / 2,),
    )


def _names_of_time() -> Iterator[str]:
    yield "time"
    yield "simulation_time"
    yield from (f"simulation_time_{i}" for i in count(2))


def first_places(interface: Interface) -> tuple[int, ...]:
    """Where the numbers of each function begin among those of all, and at last how many there are."""
    return (0, *accumulate(program.n_out for program in interface.functions.values()))


def _derivatives(interface: Interface, places: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """For each of `places` the place of its derivative by each input, or -1; none where a value lacks one."""
    functions = interface.functions
    if "jet" not in functions:
        return ()
    inputs, values, jet = (
        columns(variables)
        for variables in (functions["eval"].inputs, functions["eval"].outputs, functions["jet"].outputs)
    )
    names, first = Names(inputs, values), len(values)
    terms: dict[int, Term] = {place: Derivative(name) for place, name in enumerate(values)}
    for place, name in enumerate(jet, first):
        try:
            terms[place] = names.read(name)
        except DerivativeError:
            continue
    of = {term: place for place, term in terms.items() if place >= first}

    def derivative(place: int, column: str) -> int:
        match terms.get(place):
            case Derivative(value, multi_index):
                order = tuple(sorted((*multi_index, column), key=inputs.index))
                return of.get(Derivative(value, order), -1)
        return -1

    table = tuple(tuple(derivative(place, column) for column in inputs) for place in places)
    return table if all(-1 not in row for row in table[:first]) else ()


def _arrays(interface: Interface, scalars: Sequence[Variable]) -> Iterator[tuple[int, Var]]:
    """The vectors that can be one variable each: whole, alike, under a name that nothing else has."""
    by_name = {each.name: each for each in scalars}
    functions = interface.functions.values()
    for var in (*interface.functions["eval"].inputs, *(var for program in functions for var in program.outputs)):
        names = columns((var,))
        found = [by_name[name] for name in names if name in by_name]
        if var.size == 1 or len(found) < var.size or var.name in by_name:
            continue
        first = found[0]
        alike = (
            replace(first, name=name, reference=first.reference + i, start=each.start)
            for i, (name, each) in enumerate(zip(names, found, strict=True))
        )
        if all(each == expected for each, expected in zip(found, alike, strict=True)):
            by_name[var.name] = first
            yield first.reference, var
