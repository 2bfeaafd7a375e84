"""Archives for Cortex-M and the GNU Arm toolchain: any convention for floats, no byte for what is unused."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from artifacts import BOX, SMALL, Artifacts
from conftest import Need
from strategies import points

from kdpinn_edge.bundle.manifest import FunctionName, read_manifest
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.artifacts.c_files import filled_template
from kdpinn_edge.export.artifacts.device_bench import MEMORY
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import target
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Program

FPU = {
    "cortex-m0plus": "-mfpu=auto",
    "cortex-m3": "-mfpu=auto",
    "cortex-m4": "-mfpu=fpv4-sp-d16",
    "cortex-m7": "-mfpu=fpv5-d16",
    "cortex-m33": "-mfpu=fpv5-sp-d16",
}
FUNCTIONS: dict[FunctionName, Program] = {"eval": SMALL, "jet": derivatives(SMALL, ["u", "u_x0"])}
SEMIHOSTING = ("-display", "none", "-semihosting-config", "enable=on,target=native")
START = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

int main(void);
extern uint32_t bench_data[], bench_data_end[], bench_bss[], bench_bss_end[], bench_stack[];
extern const uint32_t bench_data_image[];
extern void initialise_monitor_handles(void);

/* A float between the program's own functions, so that the convention for floats is that of the compiler's flag. */
__attribute__((noinline)) float halved(float value) { return 0.5f * value; }

void bench_reset(void)
{
    const uint32_t *from = bench_data_image;
    uint32_t *to;

    for (to = bench_data; to < bench_data_end; to++) { *to = *from++; }
    for (to = bench_bss; to < bench_bss_end; to++) { *to = 0; }
#ifndef __SOFTFP__
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the FPU */
#endif
    __asm__ volatile("dsb\\n isb");
    initialise_monitor_handles();
    exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {bench_stack, (void *)bench_reset};
"""
ALL = """
int main(void)
{
    static const uint32_t bits[] = {BITS};
    const float *x = (const float *)bits;
    union { float number; uint32_t bits; } y[POINTS * NET_JET_N_OUT];
    int i;

    if (halved(2.0f) != 1.0f || net_selftest() != 0) { return 1; }
    if (net_eval(x, &y[0].number, POINTS) != 0) { return 2; }
    for (i = 0; i < POINTS * NET_EVAL_N_OUT; i++) { printf("%08lx\\n", (unsigned long)y[i].bits); }
    if (net_jet(x, &y[0].number, POINTS) != 0) { return 3; }
    for (i = 0; i < POINTS * NET_JET_N_OUT; i++) { printf("%08lx\\n", (unsigned long)y[i].bits); }
    return 0;
}
"""
EVAL_ALONE = """
volatile float result;

int main(void)
{
    float x[2] = {0.5f, 0.1f}, y;

    net_eval(x, &y, 1);
    result = y;
    return 0;
}
"""


def built(gcc: str, bundle: Path, name: str, text: str, folder: Path, float_abi: str) -> Path:
    """The program `text`, linked with the bundle for a Cortex-M out of reset."""
    chosen = target(name)
    interface = Interface("net", "float32", chosen, BOX, FUNCTIONS)
    layout = filled_template("bench_bare_metal.ld", interface, asdict(MEMORY[name]))
    source, script, program = folder / "main.c", folder / "main.ld", folder / f"{float_abi}.elf"
    source.write_text(START + text)
    script.write_bytes(layout)
    options = [f"-mcpu={chosen.cpu}", "-mthumb", FPU[name], f"-mfloat-abi={float_abi}", "-O1", "-std=gnu99"]
    linked = [
        "-nostartfiles",
        "--specs=rdimon.specs",
        f"-T{script}",
        "-Wl,--gc-sections,-e,bench_reset,--defsym=end=bench_bss_end",
    ]
    command = [gcc, *options, *linked, str(source), f"-I{bundle}", f"-L{bundle}", "-lnet", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.slow
@pytest.mark.parametrize("name", FPU)
def test_every_convention_for_floats_links_and_has_the_bits(
    name: str, artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    gcc, emulator = need("arm-none-eabi-gcc"), need("qemu-system-arm")
    bundle = artifacts.small(name)
    profile = read_manifest(bundle).profile
    x = points(FUNCTIONS["eval"], 5).astype(np.float32)
    bits = ", ".join(f"{number}u" for number in x.view(np.uint32).flat)
    text = ALL.replace("BITS", bits).replace("POINTS", str(len(x)))
    expected = "".join(
        f"{number:08x}\n"
        for program in FUNCTIONS.values()
        for number in NumpyProgram(program, "float32", profile)(x).view(np.uint32).flat
    )
    for float_abi in ("soft",) if target(name).helpers else ("hard", "softfp"):
        program = built(gcc, bundle, name, text, tmp_path, float_abi)
        command = [emulator, "-M", MEMORY[name].machine, *SEMIHOSTING, "-kernel", str(program)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected


def test_a_program_that_calls_eval_alone_pays_for_nothing_else(
    artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    gcc, size = need("arm-none-eabi-gcc"), need("arm-none-eabi-size")
    sizes = set()
    alone = artifacts.bundle(SMALL, name="net", target="cortex-m4", inputs=BOX)
    for bundle in (alone, artifacts.small("cortex-m4")):
        program = built(gcc, bundle, "cortex-m4", EVAL_ALONE, tmp_path, "hard")
        done = subprocess.run([size, program], capture_output=True, text=True, check=True)
        sizes.add(tuple(done.stdout.splitlines()[1].split()[:3]))
    assert len(sizes) == 1
