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
#define FAULT "a fault"

@bare_metal@
#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define VTOR (*(volatile uint32_t *)0xE000ED08)
#define CPACR (*(volatile uint32_t *)0xE000ED88)

extern void SystemInit(void) __attribute__((weak));

static volatile uint32_t wraps;

static void semihosting(uint32_t operation, uint32_t argument)
{
    register uint32_t r0 __asm__("r0") = operation, r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt #0xAB" : "+r"(r0) : "r"(r1) : "memory");
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

static void prepare(void)
{
    if (SystemInit) {
        SystemInit();
    }
    SYST_RVR = 0xFFFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 7; /* on, with its interrupt, at the clock of the core */
}

static void on_systick(void)
{
    wraps = wraps + 1;
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
