"""Programs on an ATmega1284P, an 8-bit AVR with 16 KB of RAM, in the simulator simavr."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import Need

OPTIONS = ("-mmcu=atmega1284p", "-std=gnu99", "-Os")
"""What avr-gcc is told."""
MAIN = """
#include "{header}"
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdio.h>

static int put(char c, FILE *file)
{{
    (void)file;
    UDR0 = c;
    while (!(UCSR0A & (1 << UDRE0))) {{ }}
    return 0;
}}

static FILE out = FDEV_SETUP_STREAM(put, NULL, _FDEV_SETUP_WRITE);

int main(void)
{{
    UCSR0B = 1 << TXEN0;
    stdout = &out;
    {statements}
    puts("");
    cli();
    sleep_enable();
    sleep_cpu();
    return 0;
}}
"""


def printed(source: Path, statements: str, folder: Path, need: Need) -> str:
    """What `statements` print where they are run with the model in `source`, whose header lies beside it."""
    (folder / "main.c").write_text(MAIN.format(header=source.with_suffix(".h").name, statements=statements))
    program = folder / "main.elf"
    command = [need("avr-gcc"), *OPTIONS, f"-I{source.parent}", source, folder / "main.c", "-lm", "-o", program]
    subprocess.run(command, check=True)
    simulated = [need("simavr"), "-m", "atmega1284p", "-f", "16000000", program]
    done = subprocess.run(simulated, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr
