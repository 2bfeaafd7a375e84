/* A host for Windows without a C library: of the system it calls KERNEL32 alone, so that nothing has to be built for it.
 *
 * LIBRARY and MODEL in the environment are the file of the library and the symbol of its description. It calls every
 * function of the model at the points in the file x, writes the values to the file y, and looks how an exception finds
 * its way out of each function.
 */
#include <stdint.h>

#include <windows.h>

#include "kdpinn_edge.h"

enum { ROOM = 1 << 20 };
typedef int32_t (*evaluated)(const void *x, void *y, int64_t n);

static int unwound;
static void *room;

/* Called with an address that nothing is at. */
__attribute__((noinline)) static int32_t fails(evaluated function, void *y)
{
    const int32_t status = function((const void *)16, y, 64);
    return status + 1; /* so that the call is none that returns to the caller of this function */
}

/* From the instruction that failed back to `fails`, as a debugger goes: by the tables of each function on the way. */
static LONG CALLBACK walk(EXCEPTION_POINTERS *raised)
{
    CONTEXT *here = raised->ContextRecord; /* which nobody goes on from: the thread ends here */
    DWORD64 base = 0;
    const RUNTIME_FUNCTION *home = RtlLookupFunctionEntry((DWORD64)&fails, &base, NULL);
    int steps;

    for (steps = 1; steps < 16; steps++) {
        void *data;
        DWORD64 frame;
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(here->Rip, &base, NULL);
        if (function == NULL) { /* a function without a frame */
            here->Rip = *(DWORD64 *)here->Rsp;
            here->Rsp += 8;
        } else {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, here->Rip, function, here, &data, &frame, NULL);
        }
        if (home != NULL && RtlLookupFunctionEntry(here->Rip, &base, NULL) == home) {
            unwound = steps;
            break;
        }
    }
    TerminateThread(GetCurrentThread(), unwound == 0);
    return EXCEPTION_CONTINUE_SEARCH;
}

static DWORD WINAPI call(void *function)
{
    return (DWORD)fails((evaluated)function, room);
}

static evaluated of(const kdpinn_function *function)
{
    return function->f32 != NULL ? (evaluated)function->f32 : (evaluated)function->f64;
}

/* The exit code: 0, or the number of the step that failed. */
static UINT run(void)
{
    char file[MAX_PATH], symbol[MAX_PATH];
    const kdpinn_model *(*describe)(void);
    const kdpinn_model *model;
    HMODULE library;
    HANDLE points, values;
    DWORD size, done;
    char *x;
    int32_t i;

    GetEnvironmentVariableA("LIBRARY", file, sizeof file);
    GetEnvironmentVariableA("MODEL", symbol, sizeof symbol);
    library = LoadLibraryA(file);
    if (library == NULL) {
        return 2;
    }
    describe = (const kdpinn_model *(*)(void))(void *)GetProcAddress(library, symbol);
    model = describe();
    if (model->selftest() != 0 || model->integrity() != 0) {
        return 3;
    }
    points = CreateFileA("x", GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    values = CreateFileA("y", GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    size = GetFileSize(points, NULL);
    x = VirtualAlloc(NULL, ROOM, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    room = VirtualAlloc(NULL, ROOM, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (size > ROOM || !ReadFile(points, x, size, &done, NULL) || done != size) {
        return 4;
    }
    for (i = 0; i < model->n_functions; i++) {
        const int64_t n = size / model->scalar_bytes / model->n_in;
        const DWORD bytes = (DWORD)(n * model->functions[i].n_out * model->scalar_bytes);
        if (of(&model->functions[i])(x, room, n) != KDPINN_OK || !WriteFile(values, room, bytes, &done, NULL)) {
            return 5;
        }
    }
    CloseHandle(values);
    AddVectoredExceptionHandler(1, walk);
    for (i = 0; i < model->n_functions; i++) {
        HANDLE thread = CreateThread(NULL, ROOM, call, (void *)of(&model->functions[i]), 0, NULL);
        unwound = 0;
        if (thread == NULL || WaitForSingleObject(thread, 30000) != WAIT_OBJECT_0 || unwound == 0) {
            return 6;
        }
    }
    return 0;
}

void start(void)
{
    ExitProcess(run());
}
