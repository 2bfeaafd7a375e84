/* Linux by its system calls: the same static executable runs on any distribution. With the compiler of the device:
 *
 *     cc -O2 -nostartfiles @name@_bench.c -L. -l@name@ -Wl,-rpath,'$ORIGIN' -o @name@_bench
 */
#define CLOCK_SOURCE "clock_gettime(CLOCK_MONOTONIC)"
#define CLOCK_UNIT "ns"
#define CLOCK_PER_SECOND 1000000000u

enum {
    MOST_POINTS = 10000,
    MOST_SAMPLES = 1000,
    MOST_TICKS = 1000000000, /* of one row */
    MONOTONIC = 1,
    STANDARD_OUTPUT = 1
};

static const int32_t N_POINTS[] = {1, 100, MOST_POINTS};

#define SYSTEM_CALL(instruction, of_number, first, second, third)                                                 \
    static long system_call(long number, long a, long b, long c)                                                  \
    {                                                                                                             \
        register long called __asm__(of_number) = number, result __asm__(first) = a;                              \
        register long y __asm__(second) = b, z __asm__(third) = c;                                                \
                                                                                                                  \
        __asm__ volatile(instruction : "+r"(result) : "r"(called), "r"(y), "r"(z) : "memory");                    \
        return result;                                                                                            \
    }

#if defined(__x86_64__)
enum { WRITE = 1, CLOCK_GETTIME = 228, EXIT_GROUP = 231 };

static long system_call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { WRITE = 64, CLOCK_GETTIME = 113, EXIT_GROUP = 94 };
SYSTEM_CALL("svc #0", "x8", "x0", "x1", "x2")
#elif defined(__arm__)
enum { WRITE = 4, CLOCK_GETTIME = 263, EXIT_GROUP = 248 };
SYSTEM_CALL("svc #0", "r7", "r0", "r1", "r2")
#elif defined(__riscv)
enum { WRITE = 64, CLOCK_GETTIME = 113, EXIT_GROUP = 94 };
SYSTEM_CALL("ecall", "a7", "a0", "a1", "a2")
#endif

static uint64_t clock_ticks(void)
{
    struct {
        long seconds, nanoseconds;
    } now;

    system_call(CLOCK_GETTIME, MONOTONIC, (long)&now, 0);
    return (uint64_t)now.seconds * 1000000000u + (uint64_t)now.nanoseconds;
}

static void write_text(const char *text)
{
    long size = 0, written;

    while (text[size] != '\0') {
        size++;
    }
    while (size > 0 && (written = system_call(WRITE, STANDARD_OUTPUT, (long)text, size)) > 0) {
        text += written;
        size -= written;
    }
}

#if defined(__x86_64__)
typedef struct {
    uint64_t *where;
    uint64_t info;
    uint64_t (*resolve)(void);
} relocation;

extern const relocation __rela_iplt_start[] __attribute__((weak, visibility("hidden")));
extern const relocation __rela_iplt_end[] __attribute__((weak, visibility("hidden")));

/* Choose the functions of this processor, as the dynamic loader does for a shared library. */
static void choose_functions(void)
{
    const relocation *each;

    for (each = __rela_iplt_start; each != __rela_iplt_end; each++) {
        *each->where = each->resolve();
    }
}

__attribute__((force_align_arg_pointer))
#else
static void choose_functions(void) {}
#endif
void _start(void);

void _start(void)
{
#if defined(__riscv)
    __asm__ volatile(".option push\n.option norelax\nla gp, __global_pointer$\n.option pop");
#endif
    choose_functions();
    for (;;) {
        system_call(EXIT_GROUP, bench(), 0, 0);
    }
}
