"""The files for other languages, compiled by their compilers: the bits of `engine.eval`, `jet` and `eval_for`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from numpy.typing import NDArray
from sampled import some
from strategies import mlp

from kdpinn_edge.bundle.manifest import Input, Precision, read_manifest, write_manifest
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.checks.again import Again
from kdpinn_edge.errors import BundleError, ExportError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.runtime import load

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
NET = mlp(2, 8, 2, 1)
REQUESTS = ["u", "jacobian", "hessian"]
N = 3
CPP = """
#include "net.hpp"
#include <array>
#include <bit>
#include <cstdio>

static_assert(kdpinn::net::n_in == 2);

int main()
{
    const std::array<SCALAR, 6> x{SCALAR(0.25), SCALAR(-0.5), SCALAR(0.125), SCALAR(0.75), SCALAR(-1), SCALAR(2)};
    const std::array<SCALAR, 3> rest{x[0], x[2], x[4]};
    std::array<SCALAR, 3> u{}, given{};
    std::array<SCALAR, 3 * NET_JET_N_OUT> jet{};
    int status = kdpinn::net::selftest() | kdpinn::net::integrity() | !kdpinn::net::matches();
    status |= kdpinn::net::eval(x, u) | kdpinn::net::jet(x, jet);
    status |= kdpinn::net::eval_for(std::span<const SCALAR, 1>(x.data() + 1, 1), rest, given);
    if (status != 0 || kdpinn::net::outside(x) != 0) { return 1; }
    if (kdpinn::net::eval(x, jet) != kdpinn::net::wrong_size) { return 2; }
    for (const auto &y : {std::span<const SCALAR>(u), std::span<const SCALAR>(jet), std::span<const SCALAR>(given)}) {
        for (SCALAR v : y) { std::printf("%llx\\n", (unsigned long long)std::bit_cast<BITS>(v)); }
    }
    return 0;
}
"""
FORTRAN = """
program main
  use net
  use, intrinsic :: iso_c_binding
  use, intrinsic :: ieee_exceptions
  implicit none
  real(net_kind) :: x(net_n_in, 3), u(net_eval_n_out, 3), jet(net_jet_n_out, 3), given(net_eval_n_out, 3)
  integer(c_int32_t) :: status(4)
  x = reshape([0.25_net_kind, -0.5_net_kind, 0.125_net_kind, 0.75_net_kind, -1.0_net_kind, 2.0_net_kind], [2, 3])
  status(1) = net_selftest()
  call ieee_set_halting_mode([ieee_invalid, ieee_divide_by_zero, ieee_overflow], .true.)
  status(2) = net_eval(x, u, 3_c_int64_t)
  status(3) = net_jet(x, jet, 3_c_int64_t)
  status(4) = net_eval_for(x(2, 1), x(1, :), given, 3_c_int64_t)
  if (any(status /= 0) .or. net_outside(x, 3_c_int64_t) /= 0 .or. net_jet_u_x0 /= 2) stop 1
  if (net_integrity() /= 0 .or. .not. net_matches()) stop 2
  if (net_jacobian(1, 2) /= net_jet_u_x1 .or. net_jacobian(1, 1) /= net_jet_u_x0) stop 3
  if (net_hessian(1, 1, 1) /= net_jet_u_x0_x0 .or. net_hessian(1, 2, 2) /= net_jet_u_x1_x1) stop 4
  if (net_hessian(1, 1, 2) /= net_jet_u_x0_x1 .or. net_hessian(1, 2, 1) /= net_jet_u_x0_x1) stop 5
  print '(z0)', u, jet, given
end program
"""
RUST = """
fn main() {
    let x: [SCALAR; 6] = [0.25, -0.5, 0.125, 0.75, -1.0, 2.0];
    let (mut u, mut jet, mut given) = ([0.0; 3], [0.0; 3 * net::jet::N_OUT], [0.0; 3]);
    assert_eq!((net::selftest(), net::outside(&x), net::N_IN, net::jet::U_X0), (0, 0, 2, 1));
    assert_eq!((net::integrity(), net::matches(), net::jacobian(0, 1)), (0, true, net::jet::U_X1));
    assert_eq!((net::hessian(0, 0, 0), net::hessian(0, 1, 1)), (net::jet::U_X0_X0, net::jet::U_X1_X1));
    assert_eq!((net::hessian(0, 0, 1), net::hessian(0, 1, 0)), (net::jet::U_X0_X1, net::jet::U_X0_X1));
    net::eval(&x, &mut u).unwrap();
    net::jet(&x, &mut jet).unwrap();
    net::eval_for(&[x[1]], &[x[0], x[2], x[4]], &mut given).unwrap();
    for y in u.iter().chain(&jet).chain(&given) {
        println!("{:x}", y.to_bits());
    }
}
"""
OCTAVE = """
x = CLASS([0.25 0.125 -1; -0.5 0.75 2]);
u = net_mex('eval', x); jet = net_mex('jet', x); given = net_mex('eval_for', x(2, 1), x(1, :));
assert(net_mex('selftest') == 0 && net_mex('outside', x) == 0 && isequal(size(jet), [6 3]));
assert(net_mex('integrity') == 0 && net_mex('matches') == 1);
for wrong = {int8(x), x', 1}
  try
    net_mex('eval', wrong{1}); error('accepted');
  catch e
    assert(strcmp(e.identifier, 'kdpinn:x'));
  end
end
y = [u(:); jet(:); given(:)];
disp(num2hex(y));
"""


def bundle_of(precision: Precision, artifacts: Artifacts, target: str = "native") -> Path:
    """A bundle with the files for every language."""
    return artifacts.bundle(
        NET,
        name="net",
        precision=precision,
        target=target,
        derivatives=REQUESTS,
        per_call=["x1"],
        languages=["rust", "cpp", "matlab", "fortran"],
    )


def expected(bundle: Path) -> list[int]:
    """The bits that each program prints."""
    engine = load(bundle)
    x = np.array([[0.25, -0.5], [0.125, 0.75], [-1, 2]], engine.dtype)
    jet = np.stack([*engine.jet(x).values()], axis=1)
    values: list[NDArray[np.generic]] = [engine.eval(x), jet, engine.eval_for(x[0, 1:], x[:, :1])]
    return [int(bits) for y in values for bits in y.view(f"u{y.itemsize}").flat]


def printed(*command: str | Path, cwd: Path) -> list[int]:
    return [int(line, 16) for line in run(*command, cwd=cwd).split()]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("precision", some(PRECISIONS, ["float32"]))
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp(compiler: str, precision: Precision, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    bundle = bundle_of(precision, artifacts)
    scalar, bits = {"float32": ("float", "uint32_t"), "float64": ("double", "uint64_t")}[precision]
    (tmp_path / "main.cpp").write_text(CPP.replace("SCALAR", scalar).replace("BITS", bits))
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-fno-exceptions"]
    program = ["main.cpp", f"-I{bundle}", bundle / "libnet.a", "-o", "main"]
    run(need(compiler), "-std=c++20", *warnings, *program, cwd=tmp_path)
    assert printed(tmp_path / "main", cwd=tmp_path) == expected(bundle)


@pytest.mark.parametrize("precision", some(PRECISIONS, ["float32"]))
def test_fortran(precision: Precision, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """With traps for floating-point exceptions, which an evaluation does not raise."""
    bundle = bundle_of(precision, artifacts)
    (tmp_path / "main.f90").write_text(FORTRAN)
    options = ["-std=f2018", "-Wall", "-Wextra", "-Werror", "-fcheck=all"]
    run(need("gfortran"), *options, bundle / "net.f90", "main.f90", bundle / "libnet.a", "-o", "main", cwd=tmp_path)
    assert printed(tmp_path / "main", cwd=tmp_path) == expected(bundle)


@pytest.mark.hosts
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rust(precision: Precision, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """A crate that depends on the bundle, which is a crate itself; nothing is written into the bundle."""
    bundle = bundle_of(precision, artifacts)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text(RUST.replace("SCALAR", {"float32": "f32", "float64": "f64"}[precision]))
    dependency = f'[dependencies]\nnet = {{ path = "{bundle}" }}\n'
    (tmp_path / "Cargo.toml").write_text(f'[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n{dependency}')
    assert printed(need("cargo"), "run", "--offline", "--quiet", cwd=tmp_path) == expected(bundle)
    assert {path.name for path in bundle.iterdir()} == {*read_manifest(bundle).files, "manifest.json"}


@pytest.mark.hosts
@pytest.mark.parametrize("precision", PRECISIONS)
def test_octave(precision: Precision, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    bundle = bundle_of(precision, artifacts)
    compiled = ["--mex", bundle / "net_mex.c", bundle / "libnet.a", f"-I{bundle}", "-o", "net_mex.mex"]
    run(need("mkoctfile"), *compiled, cwd=tmp_path)
    script = OCTAVE.replace("CLASS", {"float32": "single", "float64": "double"}[precision])
    assert printed(need("octave-cli"), "--eval", script, cwd=tmp_path) == expected(bundle)


WORDS: dict[str, Any] = {
    "name": "net",
    "arithmetic": "int16",
    "inputs": [Input("x0", -1.0, 1.0), Input("x1", -1.0, 1.0)],
    "languages": ["rust", "matlab", "fortran"],
}
FORTRAN_WORDS = """
program main
  use net
  use, intrinsic :: iso_c_binding
  implicit none
  integer(c_int32_t) :: x(net_n_in, 3), y(net_eval_n_out, 3)
  x = reshape([1, -5, 70000000, 800000000, -2000000000, 2000000000], [2, 3])
  if (net_eval_fixed(x, y, 3_c_int64_t) /= 0) stop 1
  print '(z0)', net_eval_x_bits, net_eval_y_bits, y
end program
"""
RUST_WORDS = """
fn main() {
    let (x, mut y) = ([1, -5, 70000000, 800000000, -2000000000, 2000000000], [0; 3 * net::eval::N_OUT]);
    net::eval_fixed(&x, &mut y).unwrap();
    for word in net::eval_fixed::X_BITS.iter().chain(&net::eval_fixed::Y_BITS).chain(&y) {
        println!("{word:x}");
    }
}
"""
OCTAVE_WORDS = """
y = net_mex('eval_fixed', int32([1 70000000 -2000000000; -5 800000000 2000000000]));
printf('%x\\n', BITS, typecast(y(:), 'uint32'));
"""


def expected_words(bundle: Path) -> list[int]:
    """The fraction bits of x and y, and the words that each program prints, as words without a sign."""
    scales = read_manifest(bundle).fixed_point["eval"]
    x = np.array([[1, -5], [70000000, 800000000], [-2000000000, 2000000000]], np.int32)
    y = load(bundle, engine="numpy").eval_fixed(x)
    return [*scales.x_bits, *scales.y_bits, *map(int, y.view(np.uint32).flat)]


def test_words_in_fortran(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    bundle = artifacts.bundle(NET, **WORDS)
    (tmp_path / "main.f90").write_text(FORTRAN_WORDS)
    options = ["-std=f2018", "-Wall", "-Wextra", "-Werror", "-fcheck=all"]
    run(need("gfortran"), *options, bundle / "net.f90", "main.f90", bundle / "libnet.a", "-o", "main", cwd=tmp_path)
    assert printed(tmp_path / "main", cwd=tmp_path) == expected_words(bundle)


@pytest.mark.hosts
def test_words_in_rust(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    bundle = artifacts.bundle(NET, **WORDS)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text(RUST_WORDS)
    dependency = f'[dependencies]\nnet = {{ path = "{bundle}" }}\n'
    (tmp_path / "Cargo.toml").write_text(f'[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n{dependency}')
    assert printed(need("cargo"), "run", "--offline", "--quiet", cwd=tmp_path) == expected_words(bundle)


@pytest.mark.hosts
def test_words_in_octave(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    bundle = artifacts.bundle(NET, **WORDS)
    compiled = ["--mex", bundle / "net_mex.c", bundle / "libnet.a", f"-I{bundle}", "-o", "net_mex.mex"]
    run(need("mkoctfile"), *compiled, cwd=tmp_path)
    found = expected_words(bundle)
    script = OCTAVE_WORDS.replace("BITS", f"{found[:3]}")
    assert printed(need("octave-cli"), "--eval", script, cwd=tmp_path) == found


def test_the_source_serves_cpp_and_fortran_too(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """C99 in place of a library; Rust would need a C compiler for it."""
    bundle = artifacts.bundle(NET, name="net", target="c99", languages=["cpp"])
    (tmp_path / "main.cpp").write_text('#include "net.hpp"\nint main() { return kdpinn::net::selftest(); }\n')
    run(need("cc"), "-O1", "-c", bundle / "net.c", "-o", "net.o", cwd=tmp_path)
    run(need("g++"), "-std=c++20", "main.cpp", "net.o", f"-I{bundle}", "-o", "main", cwd=tmp_path)
    run(tmp_path / "main", cwd=tmp_path)
    with pytest.raises(ExportError, match="c99 makes nothing that rust is linked with; leave it out"):
        export_bundle(NET, tmp_path / "net", name="net", target="c99", languages=["cpp", "rust"])
    assert not (tmp_path / "net").exists()


def test_files_are_part_of_the_bundle_and_follow_from_it(artifacts: Artifacts, tmp_path: Path) -> None:
    bundle = tmp_path / "net"
    shutil.copytree(bundle_of("float32", artifacts), bundle)
    manifest = read_manifest(bundle)
    assert {"net.hpp", "net.f90", "net_mex.c", "net.rs", "net_build.rs", "Cargo.toml"} <= set(manifest.files)
    assert "net.f90" in made_again(bundle)
    (bundle / "net.f90").write_text((bundle / "net.f90").read_text().replace("net_jet_u_x0 = 2", "net_jet_u_x0 = 3"))
    digest = hashlib.sha256((bundle / "net.f90").read_bytes()).hexdigest()
    write_manifest(replace(manifest, files={**manifest.files, "net.f90": digest}), bundle)
    with pytest.raises(BundleError, match=r"^net\.f90 is not what an export writes there$"):
        made_again(bundle)


def made_again(folder: Path) -> str:
    """What `check` says of the files that follow from the Programs and the manifest."""
    bundle = open_bundle(folder)
    return Again(bundle, {name: bundle.program(name) for name in bundle.manifest.functions}).files()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": ["c++"]}, r"language 'c\+\+' is unknown; expected: cpp, fortran, matlab, rust"),
        ({"languages": ["fortran", "fortan"]}, "Did you mean 'fortran'"),
        ({"languages": ["matlab"], "target": "cortex-m4"}, "cortex-m4 makes nothing that matlab is linked with"),
        (
            {"languages": ["fortran"], "name": "a" * 31, "derivatives": [f"u{'_x0' * 11}"]},
            "too long for Fortran; expected: 63 letters",
        ),
    ],
)
def test_what_is_refused(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    stated: dict[str, object] = {"name": "net", **arguments}
    with pytest.raises(ExportError, match=message):
        export_bundle(NET, tmp_path / "net", **stated)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
