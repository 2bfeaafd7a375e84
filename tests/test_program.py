"""The Program: its well-formedness, its meaning, its identity and its file."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from function_cases import FUNCTION_CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import points, programs, renamed

from kdpinn_edge.derive.forward import tangent
from kdpinn_edge.errors import EngineError, ProgramError
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import read_program, write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Select, Slice, Var
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

X, T = Var("x", 1), Var("t", 1)
XT, H, G, U = Var("xt", 2), Var("h", 3), Var("g", 3), Var("u", 1)
ONES, ZEROS = np.ones(3), np.zeros(3)

EVERY_OP = Program(
    "every_op",
    (X, T),
    (U, X),
    (
        Concat(XT, (X, T)),
        Affine(H, XT, [[1, 2], [3, 4], [5, 6]], [0.5, 0, -0.5]),
        Map(G, H, "tanh"),
        Mul(Var("p", 3), H, G),
        Scale(Var("s", 3), Var("p", 3), [1, 2, 3], ZEROS),
        Add(Var("q", 3), Var("s", 3), G),
        Slice(Var("r", 1), Var("q", 3), 1),
        Scale(U, Var("r", 1), [0.1], [-2]),
    ),
)

TEXT = """\
every_op: x[1], t[1] -> u[1], x[1]
    xt[2] = concat(x, t)
    h[3]  = affine(xt)  weight 3x2
    g[3]  = tanh(h)
    p[3]  = h * g
    s[3]  = scale(p)
    q[3]  = s + g
    r[1]  = q[1:2]
    u[1]  = 0.10000000000000001 * r + -2"""


def program(
    *ops: Op, inputs: tuple[Var, ...] = (X, T), outputs: tuple[Var, ...] | None = None, name: str = "p"
) -> Program:
    return Program(name, inputs, (ops[-1].out,) if outputs is None else outputs, ops)


MALFORMED: dict[str, tuple[Program, str]] = {
    "name of the program": (program(Map(U, X, "sin"), name="1st"), "name: '1st' is not a name"),
    "name too long": (program(Map(U, X, "sin"), name="p" * 49), "at most 48"),
    "name with a line end": (program(Map(U, X, "sin"), name="p\n"), "is not a name"),
    "name of an input": (program(Map(U, X, "sin"), inputs=(X, Var("é", 1))), "inputs: 'é' is not a name"),
    "name of a result": (program(Map(Var("u-v", 1), X, "sin")), "op 0 (Map u-v): 'u-v' is not a name"),
    "defined twice": (program(Map(U, X, "sin"), Map(U, X, "cos")), "op 1 (Map u): 'u' is defined twice"),
    "input defined again": (program(Map(X, T, "sin")), "'x' is defined twice"),
    "used before": (program(Map(U, G, "sin"), Map(G, X, "sin"), outputs=(U,)), "'g' is used before it is defined"),
    "output not defined": (program(Map(U, X, "sin"), outputs=(G,)), "outputs: 'g' is used before"),
    "size of an operand": (program(Map(G, Var("x", 3), "sin")), "'x' is used with size 3 but defined with size 1"),
    "size zero": (program(Map(U, X, "sin"), inputs=(X, Var("t", 0))), "'t' has size 0; expected: an int, 1..4096"),
    "size too large": (program(Map(U, X, "sin"), inputs=(X, Var("t", 4097))), "has size 4097"),
    "size not an int": (program(Map(U, X, "sin"), inputs=(X, Var("t", 1.0))), "has size 1.0"),  # type: ignore[arg-type]
    "weight of an affine": (program(Affine(G, X, np.ones((1, 3)), ZEROS)), "weight has shape (1, 3); expected: (3, 1)"),
    "bias of an affine": (program(Affine(G, X, np.ones((3, 1)), 0)), "bias has shape (); expected: (3,)"),
    "weight of a scale": (program(Scale(U, X, ONES, [0])), "weight has shape (3,); expected: (1,)"),
    "NaN in a weight": (program(Scale(U, X, [np.nan], [0])), "weight holds a NaN or an infinity"),
    "infinity in a bias": (program(Scale(U, X, [1], [-np.inf])), "bias holds a NaN or an infinity"),
    "scale of two sizes": (program(Scale(G, X, ONES, ZEROS)), "sizes differ: x[1] -> g[3]"),
    "map of two sizes": (program(Map(G, X, "sin")), "sizes differ: x[1] -> g[3]"),
    "function not known": (program(Map(U, X, "sinc")), f"'sinc' is unknown; expected: {', '.join(FUNCTIONS)}"),
    "sum of two sizes": (program(Concat(XT, (X, T)), Add(U, XT, X)), "sizes differ: xt[2], x[1] -> u[1]"),
    "product of two sizes": (program(Concat(XT, (X, T)), Mul(U, X, XT)), "sizes differ: x[1], xt[2] -> u[1]"),
    "choice of two sizes": (
        program(Concat(XT, (X, T)), Select(U, XT, X, T)),
        "sizes differ: xt[2], x[1], t[1] -> u[1]",
    ),
    "concat of another size": (program(Concat(G, (X, T))), "the parts have 2 entries together, the result 3"),
    "concat of nothing": (program(Concat(U, ())), "the parts have 0 entries together"),
    "slice past the end": (program(Concat(XT, (X, T)), Slice(U, XT, 2)), "[2:3] is outside xt[2]"),
    "slice before the start": (program(Slice(U, X, -1)), "[-1:0] is outside x[1]"),
    "no input": (program(inputs=(), outputs=()), "inputs: none"),
    "no output": (program(Map(U, X, "sin"), outputs=()), "outputs: none"),
    "output twice": (program(Map(U, X, "sin"), outputs=(U, U)), "outputs: a name occurs twice"),
}


@pytest.mark.parametrize(("malformed", "fault"), MALFORMED.values(), ids=MALFORMED)
def test_verify_names_the_fault(malformed: Program, fault: str) -> None:
    with pytest.raises(ProgramError) as caught:
        verify(malformed)
    assert fault in str(caught.value)


def test_verify_collects_every_fault_and_raises_once() -> None:
    faults = ("'sinc' is unknown", "[4:5] is outside", "'nowhere' is used before", "weight holds a NaN")
    malformed = program(
        Map(U, X, "sinc"), Slice(Var("v", 1), X, 4), Scale(Var("w", 1), Var("nowhere", 1), [np.nan], [0])
    )
    with pytest.raises(ProgramError) as caught:
        verify(malformed)
    assert [fault in str(caught.value) for fault in faults] == [True] * 4
    assert str(caught.value).count("\n  - ") == 4


@given(programs())
def test_verify_returns_a_well_formed_program_unchanged(drawn: Program) -> None:
    assert verify(drawn) is drawn


def test_parameters_are_private_and_read_only() -> None:
    weight = np.ones(1)
    op = Scale(U, X, weight, [0])
    weight[0] = 7
    assert op.weight == 1
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0] = 7


def test_text() -> None:
    assert str(EVERY_OP) == TEXT


def test_meaning_of_every_op() -> None:
    x, t = 0.25, -0.5
    h = [x + 2 * t + 0.5, 3 * x + 4 * t, 5 * x + 6 * t - 0.5]
    u = 0.1 * (2 * h[1] * np.tanh(h[1]) + np.tanh(h[1])) - 2
    np.testing.assert_allclose(interpret(EVERY_OP, [[x, t]]), [[u, x]], rtol=1e-15)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_meaning_of_every_function(fn: str) -> None:
    x = FUNCTION_CASES[fn].defined(np.array([-690.0, -30, -2, -0.5, -0.0, 0.5, 30]))
    with mpmath.workdps(320):  # of exp(-690), 300 digits are zeros behind the point
        expected = [float(FUNCTION_CASES[fn].exact(mpmath.mpf(v))) for v in x]
    y = interpret(program(Map(U, X, fn), inputs=(X,)), x[:, None])[:, 0]
    np.testing.assert_allclose(y, expected, rtol=1e-15)


def test_an_operation_that_is_unknown_is_an_error_everywhere() -> None:
    @dataclass(frozen=True, eq=False)
    class Div:
        out: Var
        a: Var
        b: Var

    ratio: Any = Program("p", (X, T), (U,), (Div(U, X, T),))  # type: ignore[arg-type]
    steps: dict[str, Callable[[], object]] = {
        "verify": lambda: verify(ratio),
        "hash": lambda: ratio.sha256,
        "text": lambda: str(ratio),
        "interpret": lambda: interpret(ratio, np.zeros((1, 2))),
        "round": lambda: NumpyProgram(ratio, "float32"),
        "simplify": lambda: simplify(ratio),
        "differentiate": lambda: tangent(ratio, "x"),
        "export": lambda: to_onnx(ratio, "float32"),
    }
    for step in steps.values():
        with pytest.raises(ProgramError, match="the operation Div is unknown; expected: Affine, Scale, Map, Add"):
            step()
    odd = Program("p", (X,), (U,), (Map(U, X, "sinc"),))
    for evaluated in (lambda: interpret(odd, np.zeros((1, 1))), lambda: NumpyProgram(odd, "float32")(np.zeros((1, 1)))):
        with pytest.raises(ProgramError, match="'sinc' is unknown"):
            evaluated()


@given(programs(), st.integers(0, 5))
def test_meaning_has_one_row_per_point(drawn: Program, n: int) -> None:
    assert interpret(drawn, points(drawn, n)).shape == (n, drawn.n_out)


@pytest.mark.parametrize("shape", [(2,), (5, 1), (5, 3), (1, 5, 2)])
def test_meaning_refuses_points_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=r"expected: \(n, 2\)"):
        interpret(EVERY_OP, np.zeros(shape))


@given(programs())
def test_identity_ignores_inner_names(drawn: Program) -> None:
    assert renamed(drawn) == drawn
    assert renamed(drawn).sha256 == drawn.sha256


def without(op: Op, **changes: object) -> Program:
    ops = tuple(replace(op, **changes) if each is op else each for each in EVERY_OP.ops)  # type: ignore[arg-type]
    return replace(EVERY_OP, ops=ops)


CONCAT, AFFINE, MAP, MUL, SCALE, ADD, SLICE, LAST = EVERY_OP.ops
DIFFERENT = {
    "name": replace(EVERY_OP, name="other"),
    "order of inputs": replace(EVERY_OP, inputs=(T, X)),
    "name of an input": replace(EVERY_OP, inputs=(X, T, Var("y", 1))),
    "order of outputs": replace(EVERY_OP, outputs=(X, U)),
    "number of outputs": replace(EVERY_OP, outputs=(U,)),
    "a weight in the last bit": without(AFFINE, weight=[[1, 2], [3, 4], [5, np.nextafter(6, 7)]]),
    "a bias": without(AFFINE, bias=[0.5, 0, 0.5]),
    "a function": without(MAP, fn="sin"),
    "an operand": without(MUL, a=G),
    "order of operands": without(CONCAT, xs=(T, X)),
    "start of a slice": without(SLICE, start=2),
    "an op": replace(EVERY_OP, ops=(*EVERY_OP.ops[:3], Add(Var("p", 3), H, G), *EVERY_OP.ops[4:])),
}


@pytest.mark.parametrize("other", DIFFERENT.values(), ids=DIFFERENT)
def test_identity_counts_numbers_structure_and_interface(other: Program) -> None:
    assert other != EVERY_OP
    assert other.sha256 != EVERY_OP.sha256


def test_identity_is_stable() -> None:
    assert EVERY_OP.sha256 == "a145c347a1accbc767307e970c4311cca6d1454c0ae42dee56bf852172d8fcdb"
    assert len({EVERY_OP, renamed(EVERY_OP), DIFFERENT["name"]}) == 2
    assert EVERY_OP != "every_op"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=programs())
def test_file_round_trip(tmp_path: Path, drawn: Program) -> None:
    path = tmp_path / "program.npz"
    write_program(drawn, path)
    again = read_program(path)
    assert again == drawn
    assert str(again) == str(drawn)
    first = path.read_bytes()
    write_program(again, path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["program.npz"]


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture
def archive(tmp_path: Path) -> dict[str, np.ndarray]:
    write_program(EVERY_OP, tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        return dict(file)


def edited(archive: dict[str, np.ndarray], edit: Callable[[dict], object]) -> dict[str, np.ndarray]:
    structure = json.loads(archive["structure"].tobytes())
    edit(structure)
    return archive | {"structure": np.frombuffer(json.dumps(structure).encode(), np.uint8)}


EDITS: dict[str, tuple[Callable[[dict], object], str]] = {
    "future format": (lambda s: s.update(format=2), "format 2; this version reads 1"),
    "no format": (lambda s: s.pop("format"), "not a Program file"),
    "op not known": (lambda s: s["ops"][2].update(op="Exec"), "op 'Exec' with 1 operands is unknown"),
    "operand missing": (lambda s: s["ops"][3].update({"in": ["h"]}), "op 'Mul' with 1 operands is unknown"),
    "operand not defined": (lambda s: s["ops"][2].update({"in": ["nowhere"]}), "nowhere"),
    "size not a number": (lambda s: s["inputs"][0].__setitem__(1, "one"), "not a Program file"),
    "size infinite": (lambda s: s["inputs"][0].__setitem__(1, float("inf")), "not a Program file"),
    "size changed": (lambda s: s["inputs"][0].__setitem__(1, 2), "is malformed"),
    "function not known": (lambda s: s["ops"][2].update(fn="sinc"), "'sinc' is unknown"),
    "affine dropped": (lambda s: s["ops"].pop(1), "not a Program file"),
    "scale dropped": (lambda s: s["ops"].pop(), "not a Program file"),
    "not an object": (lambda s: s.update(ops=3), "not a Program file"),
}


@pytest.mark.parametrize(("edit", "fault"), EDITS.values(), ids=EDITS)
def test_file_edited(
    tmp_path: Path, archive: dict[str, np.ndarray], edit: Callable[[dict], object], fault: str
) -> None:
    np.savez(tmp_path / "edited.npz", **edited(archive, edit))
    with pytest.raises(ProgramError) as caught:
        read_program(tmp_path / "edited.npz")
    assert fault in str(caught.value)


ARRAYS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "float32": ({"p0": np.ones((3, 2), np.float32)}, "dtype float32; expected: float64"),
    "shape": ({"p0": np.ones((2, 3))}, "weight has shape (2, 3); expected: (3, 2)"),
    "NaN": ({"p1": np.full(3, np.nan)}, "bias holds a NaN"),
    "one too many": ({"p6": np.ones(3)}, "more parameters than the ops use"),
    "another name": ({"q": np.ones(3)}, "not a Program file"),
    "structure not JSON": ({"structure": np.full(9, 65, np.uint8)}, "JSONDecodeError"),
    "structure too deep": (
        {"structure": np.frombuffer(b"[" * 100_000, np.uint8)},
        "nested too deep",
    ),
}


@pytest.mark.parametrize(("arrays", "fault"), ARRAYS.values(), ids=ARRAYS)
def test_file_with_other_arrays(
    tmp_path: Path, archive: dict[str, np.ndarray], arrays: dict[str, np.ndarray], fault: str
) -> None:
    np.savez(tmp_path / "edited.npz", **archive | arrays)
    with pytest.raises(ProgramError) as caught:
        read_program(tmp_path / "edited.npz")
    assert fault in str(caught.value)


def test_file_is_never_unpickled(tmp_path: Path, archive: dict[str, np.ndarray]) -> None:
    trap = tmp_path / "sprung"
    payload = np.array([Payload(trap)], dtype=object)
    np.savez(tmp_path / "object.npz", **archive | {"p0": payload})
    np.save(tmp_path / "object.npy", payload)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Payload(trap)))
    for name in ("object.npz", "object.npy", "plain.npz"):
        with pytest.raises(ProgramError, match="not a Program file"):
            read_program(tmp_path / name)
    assert not trap.exists()


def test_file_missing_or_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("structure.npy", b"hello")
    with pytest.raises(ProgramError, match="no such file"):
        read_program(tmp_path / "nothing.npz")
    for name in ("array.npy", "empty.npz", "text.npz", "other.npz", "."):
        with pytest.raises(ProgramError, match="not a Program file") as caught:
            read_program(tmp_path / name)
        assert "pickle" not in str(caught.value)  # NumPy would advise to load one


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_file_damaged(tmp_path: Path, data: st.DataObject) -> None:
    """Every damaged file gives ProgramError, or the Program itself where the damage hit nothing that counts."""
    path = tmp_path / "damaged.npz"
    write_program(EVERY_OP, path)
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
            whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        again = read_program(path)
    except ProgramError:
        return
    assert again == EVERY_OP
