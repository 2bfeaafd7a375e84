/* A Cortex-M out of reset, with a debugger or QEMU that serves semihosting: without one it stops at the first output.
 * The caches, the clocks and the wait states of the flash are as reset leaves them, unless there is a SystemInit (the
 * name is that of CMSIS) that sets them.
 *
 *     qemu-system-arm -M @machine@ -display none -chardev stdio,id=out -semihosting-config enable=on,chardev=out \\
 *         -kernel @name@_bench.elf
 *
 * For another board, with its memory in @name@_bench.ld:
 *
 *     @compiler@ -O2 -nostdlib -T @name@_bench.ld -Wl,-e,bench_reset \
 *         @name@_bench.c -L. -l@name@ @helpers@-o @name@_bench.elf
 */
#define CLOCK_SOURCE "SysTick"
#define CLOCK_UNIT "cycles"
#define CLOCK_PER_SECOND 0u /* where it is known, times are shown instead of cycles */

enum {
    MOST_POINTS = 100,
    MOST_SAMPLES = 32,
    MOST_TICKS = 1 << 28, /* of one row */
    SYS_WRITE0 = 0x04,
    SYS_EXIT = 0x18,
    EXITED_WELL = 0x20026,
    EXITED_WITH_ERROR = 0x20023
};

static const int32_t N_POINTS[] = {1, MOST_POINTS};

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define VTOR (*(volatile uint32_t *)0xE000ED08)
#define CPACR (*(volatile uint32_t *)0xE000ED88)

extern uint32_t bench_data[], bench_data_end[], bench_bss[], bench_bss_end[], bench_stack[];
extern const uint32_t bench_data_image[];
extern void SystemInit(void) __attribute__((weak));

static volatile uint32_t wraps;

static void semihosting(uint32_t operation, uint32_t argument)
{
    register uint32_t r0 __asm__("r0") = operation, r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt #0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void write_text(const char *text)
{
    semihosting(SYS_WRITE0, (uint32_t)text);
}

/* SysTick counts the cycles of the core, as DWT_CYCCNT does, and every one of these cores and QEMU have it. It counts 24
 * bits down, and interrupts when it gets to 0: a reading of 0 may be before or after that, and is repeated.
 */
static uint64_t clock_ticks(void)
{
    uint32_t high, low;

    do {
        high = wraps;
        low = SYST_CVR;
        __asm__ volatile("isb" ::: "memory");
    } while (low == 0 || high != wraps);
    return ((uint64_t)high << 24) + ((0u - low) & 0xFFFFFFu);
}

__attribute__((noinline)) static void run(void)
{
    const uint32_t *from = bench_data_image;
    uint32_t *to;

    for (to = bench_data; to != bench_data_end;) {
        *to++ = *from++;
    }
    for (to = bench_bss; to != bench_bss_end;) {
        *to++ = 0;
    }
    if (SystemInit) {
        SystemInit();
    }
    SYST_RVR = 0xFFFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 7; /* on, with its interrupt, at the clock of the core */
    for (;;) {
        semihosting(SYS_EXIT, bench() == 0 ? EXITED_WELL : EXITED_WITH_ERROR);
    }
}

static void on_systick(void)
{
    wraps = wraps + 1;
}

static void on_fault(void)
{
    write_text("\nthe processor raised a fault\n");
    for (;;) {
        semihosting(SYS_EXIT, EXITED_WITH_ERROR);
    }
}

void bench_reset(void);

typedef void (*handler)(void);

__attribute__((used, section(".vectors"), aligned(128))) static const handler vectors[16] = {
    (handler)bench_stack, bench_reset, on_fault, on_fault, on_fault, on_fault, on_fault, on_fault,
    on_fault, on_fault, on_fault, on_fault, on_fault, on_fault, on_fault, on_systick
};

/* A floating-point unit is off, and a compiler may save its registers where a function begins: not in this one. */
void bench_reset(void)
{
    VTOR = (uint32_t)vectors;
#ifndef __SOFTFP__
    CPACR |= 0xFu << 20;
#endif
    __asm__ volatile("dsb\nisb" ::: "memory");
    run();
}
