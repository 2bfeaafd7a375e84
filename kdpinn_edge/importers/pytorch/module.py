"""`capture(module)`: what torch calculates for a point becomes a Program.

libraries.py  finds the network in what is given
state.py      puts it into eval mode meanwhile, and everything back afterwards
call.py       finds out how it is called and what it returns
trace.py      records a call as a graph of ATen operators
reader.py     reads the graph into the ops of a Program
capture             does all this, and proves the result
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from kdpinn_edge.derive.residual import outputs_program
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.columns import Column, Columns, read_columns, stated_domain
from kdpinn_edge.importers.proof import probe_points, prove
from kdpinn_edge.importers.pytorch.call import Call, failure, found_call
from kdpinn_edge.importers.pytorch.libraries import network
from kdpinn_edge.importers.pytorch.reader import read
from kdpinn_edge.importers.pytorch.state import evaluating
from kdpinn_edge.importers.pytorch.trace import recorded
from kdpinn_edge.importers.tensors.tensors import POINTS
from kdpinn_edge.program.ir import Array, Program, Var
from kdpinn_edge.training.pinn import Made, Pinn

CAUSE = "The usual cause: forward depends on the number of points, or on attributes that it changes"
Module = nn.Module
"""What is captured as a rule."""


def capture(
    module: Any,
    *,
    name: str | None = None,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    probe: ArrayLike | None = None,
    domain: tuple[ArrayLike, ArrayLike] | None = None,
    method: str | None = None,
) -> Program:
    """The Program of a network, simplified, and proved equal to the network on probe points.

    `module` is a torch.nn.Module or any function of tensors, or what wraps one: torch.compile, DataParallel, an
    ExportedProgram, a TorchScript module, a model, solver or solution of DeepXDE, PINA, neurodiffeq, TorchPhysics or
    NeuroMancer. `method` names another method than `forward`. What `train` and `distill` return is a network too, and
    the only one that has `name`, `inputs`, `outputs` and `domain` of its own.

    `inputs` and `outputs` name the columns: in a text, as "x=-1:1, h[3]", whose bounds are the domain, or one by one,
    where a name stands for one column and a pair (name, k) for k of them. The network is called in the first of these
    ways that works: with keywords of the inputs' names, one tensor (n, n_in), one tensor (n, k) per input, a tensor
    with named columns (`x.extract(["x"])`), a tuple, a list or a dict of tensors (n, k), tensors (n,), one point at a
    time. What it returns is taken as it fits the outputs: a tensor (n, n_out), or (n,) for one column; a dict, a named
    tuple or an object with their names; a tuple or a list in their order.

    A forward may be written with everything that `importers/pytorch/aten.py` names, also by way of torch.func, and may
    differentiate (torch.autograd.grad, jacrev, jvp, …). Control flow must not depend on the data. Parameters, buffers
    and constants come along.

    The network is called in eval mode, and what depends on the points is calculated in float64: float32 weights and
    constants are taken at their float64 value, and casts of what depends on the points to float32 are left out.
    Afterwards it is as it was.

    The proof compares Program and network in float64 on `probe` (n, n_in), or on 1024 points drawn from the box
    `domain = (lower, upper)`, by default [-1, 1] in every input, always the same ones; `PARITY` in
    `importers/proof.py` says how close.

    Raises CaptureError where an operation is unknown or mixes points (all of them at once, each with its source line),
    where parameters are not finite, no way to call the network works, or two work that differ, a second call returns
    something else, or the proof fails; ProgramError where a name is not one, or bounds are stated twice.

        program = capture(train("heat"))
        program = capture(pinn, name="burgers", inputs="x=-1:1, t=0:1", outputs="u")
        program = capture(pinn, name="burgers", inputs=("x", "t"), outputs=("u",), domain=((-1, 0), (1, 1)))
    """
    if isinstance(own := getattr(module, "net", module), Pinn) and inputs is None and outputs is None:
        return _captured(own, name or own.problem.name)
    if name is None or inputs is None or outputs is None:
        raise CaptureError(
            f"{type(module).__name__} does not say what it and its columns are called; expected: name, inputs and "
            'outputs, as in name="burgers", inputs=("x", "t"), outputs=("u",)'
        )
    described, ins = _variables("inputs", inputs)
    _, outs = _variables("outputs", outputs)
    if shared := {var.name for var in ins} & {var.name for var in outs}:
        raise CaptureError(f"{', '.join(sorted(shared))} names an input and an output; expected: different names")
    box = domain if probe is not None else stated_domain(described, domain)
    points = probe_points(sum(var.size for var in ins), probe, box)
    model = network(module, method)
    with evaluating(model):
        call, expected = found_call(model, ins, outs, points)
        graph = _recorded(call, points)
        _check_repeats(call, points, expected)
        program = read(graph, name, ins, outs)
    prove(program, points, expected, "the module", CAUSE)
    return program


def _captured(net: Pinn, name: str) -> Program:
    """The Program of a network of ours: what its ansatz makes, captured, and the outputs that are derivatives of it."""
    problem = net.problem
    box = problem.lower, problem.upper
    made = capture(Made(net), name=name, inputs=problem.inputs, outputs=problem.made, domain=box)
    return outputs_program(made, problem)


def _variables(what: str, stated: Columns) -> tuple[tuple[Column, ...], tuple[Var, ...]]:
    found = read_columns(stated, what)
    if not found:
        raise CaptureError(f'{what} is {stated!r}; expected: names of columns, as in "x, t" or ("x", "t")')
    return found, tuple(Var(*each.variable) for each in found)


def _check_repeats(call: Call, points: Array, expected: Array) -> None:
    """Raise CaptureError where a second call returns something else."""
    again = call.evaluated(points)
    if not np.array_equal(again, expected, equal_nan=True):
        row, column = np.argwhere(~((again == expected) | (np.isnan(again) & np.isnan(expected))))[0]
        raise CaptureError(
            f"{call} returns {float(expected[row, column])!r} at the first call and {float(again[row, column])!r} at "
            "the second, for the same point; expected: no random numbers, and nothing that counts calls"
        )


def _recorded(call: Call, points: Array) -> torch.fx.GraphModule:
    size = call.points or POINTS
    x = torch.from_numpy(np.resize(points, (size, points.shape[1])))
    modules = call.model.named_modules() if isinstance(call.model, nn.Module) else ()
    try:
        return recorded(call, x, {id(module): path for path, module in modules})
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"{call} {failure(error)}") from error
