/* A host for Windows: windows.exe LIBRARY NAME POINTS VALUES. It calls every function of the model at the points of a file,
 * writes the values to another, and looks how an exception finds its way out of each function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include "kdpinn_edge.h"

typedef int32_t (*evaluated)(const void *x, void *y, int64_t n);

static int unwound;

/* Called with an address that nothing is at. */
__attribute__((noinline)) static int32_t fails(evaluated function, void *y)
{
    const int32_t status = function((const void *)16, y, 64);
    return status + 1; /* so that the call is none that returns to the caller of this function */
}

/* From the instruction that failed back to `fails`, as a debugger goes: by the tables of each function on the way. */
static LONG CALLBACK walk(EXCEPTION_POINTERS *raised)
{
    CONTEXT here = *raised->ContextRecord;
    DWORD64 base = 0;
    const RUNTIME_FUNCTION *home = RtlLookupFunctionEntry((DWORD64)&fails, &base, NULL);
    int steps;

    for (steps = 1; steps < 16; steps++) {
        void *data;
        DWORD64 frame;
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(here.Rip, &base, NULL);
        if (function == NULL) { /* a function without a frame */
            here.Rip = *(DWORD64 *)here.Rsp;
            here.Rsp += 8;
        } else {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, here.Rip, function, &here, &data, &frame, NULL);
        }
        if (home != NULL && RtlLookupFunctionEntry(here.Rip, &base, NULL) == home) {
            unwound = steps;
            break;
        }
    }
    printf("unwound %d\n", unwound);
    fflush(stdout);
    TerminateThread(GetCurrentThread(), unwound == 0);
    return EXCEPTION_CONTINUE_SEARCH;
}

static void *room;

static DWORD WINAPI call(void *function)
{
    return (DWORD)fails((evaluated)function, room);
}

static evaluated of(const kdpinn_function *function)
{
    return function->f32 != NULL ? (evaluated)function->f32 : (evaluated)function->f64;
}

int main(int argc, char **argv)
{
    char symbol[256];
    HMODULE library = argc == 5 ? LoadLibraryA(argv[1]) : NULL;
    const kdpinn_model *(*describe)(void);
    const kdpinn_model *model;
    FILE *points, *values;
    char *x;
    long size;
    int32_t i;

    if (library == NULL || snprintf(symbol, sizeof symbol, "%s_model", argv[2]) < 0) {
        return 2;
    }
    describe = (const kdpinn_model *(*)(void))(void *)GetProcAddress(library, symbol);
    model = describe();
    printf("selftest %d integrity %d\n", (int)model->selftest(), (int)model->integrity());
    points = fopen(argv[3], "rb");
    values = fopen(argv[4], "wb");
    if (points == NULL || values == NULL || fseek(points, 0, SEEK_END) != 0) {
        return 3;
    }
    size = ftell(points);
    rewind(points);
    x = malloc((size_t)size);
    if (fread(x, 1, (size_t)size, points) != (size_t)size) {
        return 4;
    }
    for (i = 0; i < model->n_functions; i++) {
        const int64_t n = size / model->scalar_bytes / model->n_in;
        const size_t bytes = (size_t)(n * model->functions[i].n_out * model->scalar_bytes);
        char *y = malloc(bytes);
        if (of(&model->functions[i])(x, y, n) != KDPINN_OK || fwrite(y, 1, bytes, values) != bytes) {
            return 5;
        }
    }
    fclose(values);
    room = malloc(1 << 20);
    AddVectoredExceptionHandler(1, walk);
    for (i = 0; i < model->n_functions; i++) {
        HANDLE thread = CreateThread(NULL, 1 << 20, call, (void *)of(&model->functions[i]), 0, NULL);
        unwound = 0;
        if (thread == NULL || WaitForSingleObject(thread, 30000) != WAIT_OBJECT_0 || unwound == 0) {
            return 6;
        }
    }
    return 0;
}
