/* assimilation_cortex_m.c: the estimator of assimilation.h on a Cortex-M out of reset, with QEMU or a debugger that serves
 * semihosting.
 *
 *     kdpinn-edge export burgers_nu --out m7 --target cortex-m7 --derivatives "u, u_x, u_t, u_nu" --with-bench
 *     zig cc -target thumb-freestanding-eabihf -mcpu=cortex_m7+fp_armv8d16 -std=c99 -O2 -ffreestanding -nostdlib \
 *         -ffp-contract=off -Wl,-e,bench_reset -Im7 -I. -T m7/burgers_nu_bench.ld \
 *         assimilation_cortex_m.c m7/libburgers_nu.a -o assimilation.elf
 *     qemu-system-arm -M mps2-an500 -icount shift=0 -display none -chardev stdio,id=out \
 *         -semihosting-config enable=on,chardev=out -kernel assimilation.elf
 *
 * reports.h has what the sensors report, as `RECORDED`, `N_TICKS`, `TIMES` and `REPORTS`; benchmarks/bench_assimilation.py
 * writes one. The linker script, which the bundle brings, says where the memory is. The mean and the covariance are
 * printed as the bits of doubles, in units of the prior deviation; then the Gauss-Newton steps, and the ticks of SysTick.
 */
#include "assimilation.h"
#include "reports.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define VTOR (*(volatile uint32_t *)0xE000ED08)
#define CPACR (*(volatile uint32_t *)0xE000ED88)

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, EXITED_WELL = 0x20026, EXITED_WITH_ERROR = 0x20023, SYSTICK = 0xFFFFFF };

extern uint32_t bench_stack[];

static void semihosting(uint32_t operation, uint32_t argument)
{
    register uint32_t r0 __asm__("r0") = operation, r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt #0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void print_hex(const char *name, uint64_t bits)
{
    char digits[] = " 0000000000000000\n";

    for (int i = 16; i > 0; i--, bits >>= 4)
        digits[i] = "0123456789abcdef"[bits & 15];
    semihosting(SYS_WRITE0, (uint32_t)name);
    semihosting(SYS_WRITE0, (uint32_t)digits);
}

static void print_double(const char *name, double value)
{
    const union { double value; uint64_t bits; } both = {value};

    print_hex(name, both.bits);
}

/* Everything after the floating-point unit is on. Taking in one report of all sensors must last fewer than 2^24
 * ticks of SysTick. */
__attribute__((noinline, used)) static void run(void)
{
    estimate e;
    uint64_t spent = 0;

    begin(&e);
    SYST_RVR = SYSTICK;
    SYST_CVR = 0;
    SYST_CSR = 5; /* on, at the clock of the core, without its interrupt */
    for (int tick = 0; tick < N_TICKS; tick++) {
        const uint32_t began = SYST_CVR;
        if (assimilate(&e, &RECORDED, TIMES[tick], REPORTS[tick]) != KDPINN_OK)
            semihosting(SYS_EXIT, EXITED_WITH_ERROR);
        spent += (began - SYST_CVR) & SYSTICK;
    }
    for (int i = 0; i < N_UNKNOWN; i++)
        print_double("mean", e.mean[i]);
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int j = 0; j < N_UNKNOWN; j++)
            print_double("covariance", e.covariance[i][j]);
    print_hex("steps", (uint64_t)e.n_steps);
    print_hex("systick", spent);
    semihosting(SYS_EXIT, EXITED_WELL);
}

__attribute__((used)) static void on_fault(void)
{
    semihosting(SYS_EXIT, EXITED_WITH_ERROR);
}

void bench_reset(void);

typedef void (*handler)(void);

__attribute__((used, section(".vectors"), aligned(128))) static const handler vectors[16] = {
    (handler)bench_stack, bench_reset, on_fault, on_fault, on_fault, on_fault, on_fault, on_fault,
    on_fault, on_fault, on_fault, on_fault, on_fault, on_fault, on_fault, on_fault
};

void bench_reset(void)
{
    VTOR = (uint32_t)vectors;
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\nisb" ::: "memory");
    run();
}
