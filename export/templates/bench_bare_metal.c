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

extern uint32_t bench_data[], bench_data_end[], bench_bss[], bench_bss_end[], bench_stack[];
extern const uint32_t bench_data_image[];

static void semihosting(uint32_t operation, uint32_t argument);
static void prepare(void);

static void write_text(const char *text)
{
    semihosting(SYS_WRITE0, (uint32_t)text);
}

/* Everything from the variables on; the registers of a floating-point unit are not touched before. */
__attribute__((noinline, used)) static void run(void)
{
    const uint32_t *from = bench_data_image;
    uint32_t *to;

    for (to = bench_data; to != bench_data_end;) {
        *to++ = *from++;
    }
    for (to = bench_bss; to != bench_bss_end;) {
        *to++ = 0;
    }
    prepare();
    for (;;) {
        semihosting(SYS_EXIT, bench() == 0 ? EXITED_WELL : EXITED_WITH_ERROR);
    }
}

__attribute__((used, aligned(4))) static void on_fault(void)
{
    write_text("\nthe processor raised " FAULT "\n");
    for (;;) {
        semihosting(SYS_EXIT, EXITED_WITH_ERROR);
    }
}
