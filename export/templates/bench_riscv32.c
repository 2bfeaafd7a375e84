/* A RISC-V of 32 bits out of reset, with a debugger or QEMU that serves semihosting. The clock is the counter of cycles
 * (mcycle), which every machine of the privileged architecture has; the clocks of the chip are as reset leaves them.
 *
 *     qemu-system-riscv32 -M @machine@ -bios none -display none -chardev stdio,id=out \
 *         -semihosting-config enable=on,chardev=out -kernel @name@_bench.elf
 *
 * For another board, with its memory in @name@_bench.ld:
 *
 *     @compiler@ -O2 -nostdlib -T @name@_bench.ld -Wl,-e,bench_reset \
 *         @name@_bench.c -L. -l@name@ @helpers@-o @name@_bench.elf
 */
#define CLOCK_SOURCE "mcycle"
#define FAULT "an exception"

@bare_metal@
static void semihosting(uint32_t operation, uint32_t argument)
{
    register uint32_t a0 __asm__("a0") = operation, a1 __asm__("a1") = argument;

    __asm__ volatile(".balign 16\n"
                     ".option push\n"
                     ".option norvc\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
}

static uint64_t clock_ticks(void)
{
    uint32_t high, low, again;

    do {
        __asm__ volatile("csrr %0, mcycleh\ncsrr %1, mcycle\ncsrr %2, mcycleh" : "=r"(high), "=r"(low), "=r"(again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

static void prepare(void)
{
}

/* The stack pointer has no value yet, so this is no function of C. */
__asm__(".section .vectors, \"ax\"\n"
        ".globl bench_reset\n"
        "bench_reset:\n"
        "    la sp, bench_stack\n"
        "    la t0, on_fault\n"
        "    csrw mtvec, t0\n"
        "    j run\n"
        ".text\n");
