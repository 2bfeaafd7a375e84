"""The network that a teacher and a student are: a dense network inside its problem's features and ansatz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdpinn_edge.derive.names import Derivative, Names
from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Problem
from kdpinn_edge.training import jets, values
from kdpinn_edge.training.activations import find_activation
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.values import Values


class Unknowns(NamedTuple):
    """The unknowns of an equation at every point, (n, k): the parameters that are trained, and the values they mean."""

    parameters: Tensor
    values: Tensor


Tape = list[tuple[Tensor, Tensor]]
"""Per layer, the streams that entered it and that left it before its activation: what a Jacobian is made of."""


class Pinn(nn.Module):
    """u(x) = ansatz(x, N(features(x))), with N a dense network, or derivatives of it: `problem.potentials`; float64.

    `forward` takes points (n, n_in), columns as in `problem.inputs`, and returns (n, n_out). The initial weights are
    Glorot-normal, drawn from `seed` alone; the biases start at zero. Unknowns of the equation are a parameter `unknown`
    in units of `unknown_scale`, the size of their first guesses. Raises TrainError where `activation` is none of
    ACTIVATIONS.
    """

    unknown_scale: Tensor

    def __init__(self, problem: Problem, hidden: Sequence[int], seed: int = 0, activation: str = "tanh") -> None:
        super().__init__()
        self.problem = problem
        self.ansatz = ansatz_of(problem)
        self.hidden = tuple(hidden)
        self.activation = activation
        self._activation = find_activation(activation)
        n_features = len(problem.seen(MATH, values.split(torch.zeros(1, len(problem.inputs)))))
        sizes = [n_features, *self.hidden, problem.net_columns or len(problem.made)]
        layers = [nn.Linear(n_in, n_out, dtype=torch.float64) for n_in, n_out in pairwise(sizes)]
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)
        if problem.unknowns:
            guesses = torch.tensor(list(problem.unknowns.values()), dtype=torch.float64)
            self.register_buffer("unknown_scale", torch.where(guesses == 0, 1.0, guesses.abs()))
            self.unknown = nn.Parameter(guesses / self.unknown_scale)

    @torch.no_grad()
    def draw_hidden(self, spread: float, generator: torch.Generator) -> None:
        """Draw the parameters of the hidden layers from [-spread, spread], and let the output layer return 0."""
        *hidden, output = self.layers
        for tensor in (tensor for layer in hidden for tensor in layer.parameters()):
            drawn = torch.empty(tensor.shape, dtype=tensor.dtype).uniform_(-spread, spread, generator=generator)
            tensor.copy_(drawn.to(tensor.device))
        for tensor in output.parameters():
            tensor.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """The solution at the points x (n, n_in): (n, n_out)."""
        return self.made(x) if self.problem.potentials is None else self._jet(x, ("",), None)[""]

    def made(self, x: Tensor) -> Tensor:
        """The columns that the ansatz makes at the points x: the solution, or its potentials."""
        columns = [Values(x[:, i : i + 1]) for i in range(len(self.problem.inputs))]
        h = values.joined(self.problem.seen(MATH, columns))
        for layer in self.layers[:-1]:
            h = self._activation.value(layer(h))
        net = map(Values, self.layers[-1](h).split(1, dim=1))
        return values.joined(self.ansatz(MATH, columns, *net))

    def jet(self, x: Tensor, multi_indices: tuple[str, ...] | None = None, tape: Tape | None = None) -> Jet:
        """The solution at x with the derivatives `multi_indices`, each (n, n_out); by default those of the residual.

        Streams go through the layers together, so a derivative costs one more row of a matrix product and no backward
        pass. A `tape` that is given is filled.
        """
        return self._jet(x, self.multi_indices if multi_indices is None else multi_indices, tape)

    def unknowns(self, n: int) -> Unknowns | None:
        """The unknowns of the equation at n points; None where it has none."""
        if not self.problem.unknowns:
            return None
        parameters = self.unknown.expand(n, -1)
        return Unknowns(parameters, parameters * self.unknown_scale)

    @property
    def found(self) -> dict[str, float]:
        """The values of the unknowns of the equation, by their names."""
        values = self.unknowns(1)
        return {} if values is None else dict(zip(self.problem.unknowns, values.values[0].tolist(), strict=True))

    @property
    def device(self) -> torch.device:
        """The device of the weights, and of the points that the network takes."""
        return next(self.parameters()).device

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The derivatives that `jet` has."""
        return jets.of(self.problem)

    def _jet(self, x: Tensor, multi_indices: tuple[str, ...], tape: Tape | None) -> Jet:
        """The solution at x with these derivatives."""
        potentials = self.problem.potentials
        if potentials is None:
            return self._made(x, multi_indices, tape)
        terms = [Names(self.problem.inputs, potentials.names).read(term) for term in potentials.terms]
        letter = jets.letters(self.problem.inputs)
        slopes = [
            (potentials.names.index(term.column), tuple(letter[name] for name in term.multi_index))
            for term in terms
            if isinstance(term, Derivative)
        ]
        order = list(letter.values()).index

        def after(multi_index: str, slope: tuple[str, ...]) -> str:
            return "".join(sorted((*multi_index, *slope), key=order))

        made = self._made(
            x, jets.closed([after(multi_index, slope) for multi_index in multi_indices for _, slope in slopes]), tape
        )
        streams = [
            potentials.outputs(*(Values(made[after(multi_index, slope)][:, i : i + 1]) for i, slope in slopes))
            for multi_index in multi_indices
        ]
        return Jet(multi_indices, torch.stack(list(map(values.joined, streams))))

    def _made(self, x: Tensor, multi_indices: tuple[str, ...], tape: Tape | None) -> Jet:
        """What the ansatz makes at x, with these derivatives."""
        columns = jets.columns(x, self.problem.inputs, multi_indices)
        h = jets.concat(self.problem.seen(MATH, columns))
        parameters = list(self.layers.parameters())
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            z = jets.affine(h, weight, bias)
            if tape is not None:
                tape.append((h.data, z.data))
            h = self._activation.jet(z)
        return jets.concat(self.ansatz(MATH, columns, *z.split()))


def ansatz_of(problem: Problem) -> Callable[..., Any]:
    """The ansatz of `problem`: the network itself where conditions are trained for. Raises ProblemError without any."""
    if problem.ansatz is None and not problem.soft:
        raise ProblemError(
            f"{problem.name} has no ansatz, so that nothing holds its initial and boundary conditions; expected: as in "
            "ansatz=lambda m, columns, net: (start + t * net,), for a network that keeps a start at t = 0; or soft, "
            "conditions that are trained for"
        )
    return problem.ansatz or _as_it_is


def _as_it_is(m: object, columns: Sequence[Any], *net: Any) -> Sequence[Any]:
    return net


def untrained(problem: Problem, hidden: Sequence[int], activation: str) -> Pinn:
    """A network without a zero, which costs what a trained one does: the biases that training starts at are cheaper."""
    net, generator = Pinn(problem, hidden, activation=activation), torch.Generator().manual_seed(0)
    for tensor in net.parameters():
        nn.init.normal_(tensor, generator=generator)
    return net.eval()


class Made(nn.Module):
    """The output of the ansatz of a Pinn, as a module to be captured; of its derivatives the Program's are better."""

    def __init__(self, net: Pinn) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """The solution at the points x (n, n_in), or its potentials."""
        return self.net.made(x)


def jacobian(residuals: Tensor, tape: Tape, unknowns: Unknowns | None = None) -> Tensor:
    """∂residuals/∂θ: residuals (k, n), made from `Pinn.jet(x, tape)`, give (k n, parameters).

    Entry [·, i] of residuals must depend on points i m, …, i m + m - 1 alone, of which there are n m: one backward pass
    per k then holds every point's gradient of the preactivations, and a weight's gradient is the sum of their outer
    products with what entered the layer. Columns are ordered as `Pinn.parameters()`.
    """
    n = residuals.shape[1]
    entered = [_grouped(h.detach(), n) for h, _ in tape]
    sizes = [size for h, z in tape for size in (h.shape[2] * z.shape[2], z.shape[2])]
    taken = [z for _, z in tape]
    if unknowns is not None:
        sizes.insert(0, unknowns.parameters.shape[1])
        taken.append(unknowns.parameters)
    J = residuals.new_empty(*residuals.shape, sum(sizes))
    for rows, residual in zip(J, residuals, strict=True):
        *gradients, last = torch.autograd.grad(
            residual.sum(), taken, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        blocks = [] if unknowns is None else [last.view(n, -1, last.shape[1]).sum(1)]
        gradients += [last] if unknowns is None else []
        for streams, h in zip(gradients, entered, strict=True):
            m, dz = streams.shape[1] // n, _grouped(streams, n)
            blocks += [torch.einsum("sno,sni->noi", dz, h).flatten(1), dz[0] if m == 1 else dz[:m].sum(0)]
        for columns, block in zip(rows.split(sizes, dim=1), blocks, strict=True):
            columns.copy_(block)
    return J.flatten(0, 1)


def _grouped(streams: Tensor, n: int) -> Tensor:
    """Streams (s, n m, width) as (s m, n, width): the points of a residual are further streams of it."""
    s, points, width = streams.shape
    return streams if points == n else streams.view(s, n, points // n, width).transpose(1, 2).reshape(-1, n, width)
