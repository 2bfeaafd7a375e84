/* Calls functions of copies of one library on a stack of their own. Prints for each call how many bytes it touched below
   the caller's stack pointer: the most for all alignments of that to 64 bytes.
   Arguments: bytes of x, which is read from stdin; bytes of y; 1 to look at the stack, 0 to make each call just once;
   then for each call path, symbol, number of points, of which a negative number makes none, and 1 for a function that is
   given what is constant during a call as well: the first numbers of x. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { SIZE = 1 << 24, PAGE = 1 << 12, PAINT = 0xA5, ALIGNED = 64, STEP = 16 };
typedef int32_t (*function)(const void *, void *, int64_t);
typedef int32_t (*function_for)(const void *, const void *, void *, int64_t);

static _Alignas(ALIGNED) unsigned char stack[SIZE], painted[PAGE];
static ucontext_t here, there;
static function called;
static function_for called_for;
static void *x, *y;
static int64_t n;
static int32_t status;

static int32_t nothing(const void *a, void *b, int64_t c) { (void)a, (void)b, (void)c; return 0; }

static void call(void) {
    status = called_for ? called_for(x, x, y, n) : called(x, y, n);
    swapcontext(&there, &here); /* touches no more of the stack than the call before did */
}

static void run(function f, int64_t n_points, int offset) {
    called = f, n = n_points;
    getcontext(&there);
    there.uc_stack.ss_sp = stack, there.uc_stack.ss_size = (size_t)(SIZE - offset), there.uc_link = NULL;
    makecontext(&there, call, 0);
    swapcontext(&here, &there);
    if (status != 0) exit(fprintf(stderr, "a function returned %d\n", (int)status));
}

static long touched(function f, int64_t n_points, int offset) {
    run(f, n_points, offset);
    long below = 0;
    while (memcmp(stack + below, painted, PAGE) == 0) below += PAGE;
    while (stack[below] == PAINT) below++;
    memset(stack + below, PAINT, (size_t)(SIZE - below)); /* as it was, for the next call */
    return SIZE - offset - below;
}

int main(int count, char **given) {
    const size_t x_bytes = (size_t)atoll(given[1]), y_bytes = (size_t)atoll(given[2]);
    const int looking = atoi(given[3]);
    x = calloc(1, x_bytes + 1), y = calloc(1, y_bytes + 1);
    if (x == NULL || y == NULL || fread(x, 1, x_bytes, stdin) != x_bytes) return 1;
    memset(painted, PAINT, PAGE);
    if (looking) memset(stack, PAINT, SIZE);
    const long above = looking ? touched(nothing, 0, 0) - (long)sizeof(void *) : 0; /* a call has its return address */
    for (int i = 4; i + 3 < count; i += 4) {
        void *library = dlopen(given[i], RTLD_NOW), *symbol = library ? dlsym(library, given[i + 1]) : NULL;
        if (symbol == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
        function f;
        memcpy(&f, &symbol, sizeof f);
        called_for = NULL;
        if (atoi(given[i + 3])) memcpy(&called_for, &symbol, sizeof symbol);
        const int64_t n_points = atoll(given[i + 2]);
        long most = 0;
        for (int offset = 0; looking && offset < ALIGNED; offset += STEP) {
            const long bytes = touched(f, n_points, offset) - above;
            most = bytes > most ? bytes : most;
        }
        if (looking)
            printf("%ld\n", most);
        else if (n_points >= 0)
            run(f, n_points, 0);
    }
    return 0;
}
