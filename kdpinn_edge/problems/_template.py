"""An equation of your own: a population that grows, spreads, and dies out at both ends (Fisher and KPP).

It trains as it is; change one thing after the other.

    kdpinn-edge train ./my_problem.py
    kdpinn-edge distill ./my_problem.py --teacher runs/my_problem_teacher
    kdpinn-edge export runs/my_problem_student --residual --out my_problem_bundle
    kdpinn-edge audit my_problem_bundle
"""

from kdpinn_edge import Problem

SPREAD, GROWTH = 0.01, 5.0


def residual(u, u_t, u_xx):  # type: ignore[no-untyped-def]
    """The equation, as what is zero for a solution. It is called with the `terms` below, in their order.

    Return a tuple, with one entry for each equation. Use + - * /, powers, and functions, as in np.exp(u).
    """
    return (u_t - SPREAD * u_xx - GROWTH * u * (1 - u),)


def ansatz(m, columns, net):  # type: ignore[no-untyped-def]
    """The outputs, made of the network `net` so that initial and boundary conditions hold whatever the network is.

    Here t is 0 at the start and (1 - x)(1 + x) at both ends, so that the network has no part in the values there.
    `m` has the functions: m.sin, m.exp, m.tanh, m.log, m.sqrt, ... With several outputs there is a `net` for each:
    def ansatz(m, columns, p, q).
    """
    x, t = columns
    inside = (1 - x) * (1 + x)
    return (inside * m.exp(-8 * x**2) + t * inside * net,)


def features(m, x, t):  # type: ignore[no-untyped-def]
    """What the network sees in place of x and t: here x², because the solution is the same for x and -x.

    Leave it out, and the network sees the inputs, scaled to [-1, 1].
    """
    return 2 * x**2 - 1, 2 * t - 1


PROBLEM = Problem(
    name="my_problem",  # of the library and its functions: a-z, 0-9 and _
    equation="u_t = 0.01 u_xx + 5 u (1 − u)",  # this and the next line are for people
    conditions="u(x, 0) = (1 − x²) exp(−8x²), u(±1, t) = 0",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(-1.0, 0.0),  # the domain, a number for each input
    upper=(1.0, 1.0),
    terms=("u", "u_t", "u_xx"),  # what `residual` is called with: inputs, outputs, derivatives up to order 4
    residual=residual,
    ansatz=ansatz,
    features=features,
    # exact=...,            a reference solution, (n, 2) points -> (n, 1) values: then errors are measured against it
    # exact_error=1e-6,     and what that is off at most
    # soft=(Condition(at={"x": 1.0}, terms=("u_x",), residual=lambda u_x: (u_x,)),),  conditions in place of an ansatz
    # weight=causal("t"),   for initial-value problems that end wrong: from kdpinn_edge import causal
    # units=("m", "s", "1"),
)
