/* Calls functions of a library, on x86-64 Linux and without a C library: valgrind would be busy with what a C library does
   before main.
   Compiled with CALLS, which is CALL(symbol, number of points, 1 where what is constant during a call is given as well:
   the first numbers of x) for each of them, and with the bytes of x, which is read from stdin, and of y.
   For each call it writes how many bytes that touched below the caller's stack pointer, as an int64_t: the most for all
   alignments of that to 64 bytes. Under callgrind it writes nothing and makes each call with points once; callgrind
   prints after each what it counted since the last.
   The exit code is 0, or the number of the call that returned something else than 0, counted from 1. */
#include <stdint.h>

enum { SIZE = 1 << 24, BLOCK = 8, ALIGNED = 64, STEP = 16 };
enum { READ, WRITE, EXIT_GROUP = 231 };
enum { RUNNING_ON_VALGRIND = 0x1001, DUMP = 'C' << 24 | 'T' << 16, ZERO };
#define PAINT UINT64_C(0xA5A5A5A5A5A5A5A5)

#define CALL(symbol, n_points, per_call) extern int32_t symbol(void);
CALLS
#undef CALL
#define CALL(symbol, n_points, per_call) {symbol, n_points, per_call},
static const struct call {
    int32_t (*function)(void);
    int64_t n;
    int per_call;
} calls[] = {CALLS};
enum { N_CALLS = sizeof calls / sizeof *calls, WORDS = SIZE / 8 };

static _Alignas(ALIGNED) uint64_t stack[WORDS];
static _Alignas(ALIGNED) unsigned char x[X_BYTES + 1], y[Y_BYTES + 1];

/* The library of an FMU has functions that take memory; they are not called. */
void *calloc(uint64_t n, uint64_t size) {
    (void)n, (void)size;
    return 0;
}

void free(void *memory) { (void)memory; }

static long system_call(long number, long a, const void *b, long c) {
    __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return number;
}

/* Ask valgrind, where it runs this, by a sequence of instructions that has no effect elsewhere; 0 then. */
static uint64_t asked(uint64_t code) {
    const uint64_t words[6] = {code, 0, 0, 0, 0, 0};
    uint64_t answer = 0;
    __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi; xchgq %%rbx, %%rbx"
                     : "+d"(answer)
                     : "a"(words)
                     : "rdi", "cc", "memory");
    return answer;
}

/* What a call returns whose caller's stack pointer lies `below` bytes under the end of the stack. */
static int32_t called(const struct call *call, long below) {
    int64_t status = (int64_t)call->function, first = (int64_t)x, second = (int64_t)y, third = call->n, fourth = call->n;
    const char *top = (const char *)stack + SIZE - below;
    if (call->per_call) second = (int64_t)x, third = (int64_t)y;
    __asm__ volatile("movq %%rsp, %%rbx; movq %[top], %%rsp; call *%%rax; movq %%rbx, %%rsp"
                     : "+a"(status), "+D"(first), "+S"(second), "+d"(third), "+c"(fourth)
                     : [top] "r"(top)
                     : "rbx", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return (int32_t)status;
}

/* How far the paint is gone under the caller's stack pointer, in bytes; it is painted again. */
static int64_t touched(long below) {
    const unsigned char *byte = (const unsigned char *)stack;
    long at = 0;
    for (uint64_t other = 0; at < WORDS; at += BLOCK) {
        for (int i = 0; i < BLOCK; i++) other |= stack[at + i] ^ PAINT;
        if (other) break;
    }
    long first = 8 * at;
    while (first < SIZE && byte[first] == (unsigned char)PAINT) first++;
    for (; at < WORDS; at++) stack[at] = PAINT;
    return SIZE - below - first;
}

/* The exit code. */
static long run(void) {
    for (long done = 0, got; done < X_BYTES; done += got)
        if ((got = system_call(READ, 0, x + done, X_BYTES - done)) <= 0) return -1;
    if (asked(RUNNING_ON_VALGRIND)) {
        asked(ZERO);
        for (int i = 0; i < N_CALLS; i++) {
            if (calls[i].n && called(&calls[i], 0) != 0) return i + 1;
            if (calls[i].n) asked(DUMP);
        }
        return 0;
    }
    for (long at = 0; at < WORDS; at++) stack[at] = PAINT;
    for (int i = 0; i < N_CALLS; i++) {
        int64_t most = 0;
        for (long below = 0; below < ALIGNED; below += STEP) {
            if (called(&calls[i], below) != 0) return i + 1;
            const int64_t bytes = touched(below);
            most = bytes > most ? bytes : most;
        }
        system_call(WRITE, 1, &most, sizeof most);
    }
    return 0;
}

__attribute__((force_align_arg_pointer)) void _start(void) {
    system_call(EXIT_GROUP, run(), 0, 0);
    for (;;) {
    }
}
