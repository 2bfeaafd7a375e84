/* @name@_fmu.h: an instance of the model @name@ as a functional mock-up unit (FMU). Written by kdpinn_edge @version@.
 *
 * @name@_fmi2.c and @name@_fmi3.c are the interfaces of FMI 2.0 and 3.0 to it. Each says what a Logger is, includes this
 * file and defines `report`.
 *
 * Value references: 0 … are the inputs, then come the outputs, then time. In FMI 3.0 an array has that of its first
 * element. There are no states: outputs are functions of the inputs, and are computed when somebody asks for them.
 *
 * Memory: one block for an instance and one for each state that is saved, from the C library (Windows: the heap of the
 * process). A call of the model itself takes none.
 */
#ifndef KDPINN_FMU_@NAME@_H
#define KDPINN_FMU_@NAME@_H

#include "@name@.h"

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
__declspec(dllimport) void *__stdcall GetProcessHeap(void);
__declspec(dllimport) void *__stdcall HeapAlloc(void *heap, unsigned long flags, size_t bytes);
__declspec(dllimport) int __stdcall HeapFree(void *heap, unsigned long flags, void *block);
#else
#include <stdlib.h>
#endif

#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

static const char TOKEN[] = "@token@"; /* of the Programs, and of what the description says of them */

enum {
    N_IN = @n_in@,
    N_OUT = @n_out@,
    N_FUNCTIONS = @n_functions@,
    N_Y = @n_y@,              /* numbers of all functions together */
    TIME = N_IN + N_OUT,
    DIFFERENTIABLE = @differentiable@ /* whether every output has a derivative by every input */
};

static const double START[N_IN] = {@start@};
static const unsigned char TUNABLE[N_IN] = {@tunable@}; /* 1: a parameter, constant while time goes on */
static const int32_t FIRST[N_FUNCTIONS + 1] = {@first@}; /* where the numbers of each function begin */
static const int32_t PLACES[N_OUT] = {@places@}; /* which of them each output is */
static const int32_t DERIVATIVES[] = {@derivatives@}; /* which of them ∂(output i)/∂(input k) is, at i * N_IN + k; or -1 */

typedef enum {
    INSTANTIATED = 1,
    INITIALIZATION = 2,
    EVENT = 4,
    CONTINUOUS = 8,
    STEP = 16,
    TERMINATED = 32,
    RUNNING = EVENT | CONTINUOUS | STEP,
    ALIVE = INSTANTIATED | INITIALIZATION | RUNNING,
    ANY = ALIVE | TERMINATED
} Mode;

typedef struct {
    int64_t mode;
    double time, x[N_IN]; /* the inputs as they were set */
} State;

typedef struct {
    const char *token; /* TOKEN, where this is an instance */
    State now;
    int is_co_simulation;
    uint32_t stale; /* bit i: the numbers of function i are not those at x */
    @scalar@ x[N_IN], y[N_Y];
    Logger logger;
    void *environment;
    char name[]; /* ends with 0 */
} Instance;

/* Tell the importer of an error. */
static void report(const Instance *m, const char *message);

static inline void *allocate(size_t bytes)
{
#if defined(_WIN32)
    return HeapAlloc(GetProcessHeap(), 8 /* filled with 0 */, bytes);
#else
    return calloc(1, bytes);
#endif
}

static inline void release(void *block)
{
#if defined(_WIN32)
    if (block != NULL) {
        HeapFree(GetProcessHeap(), 0, block);
    }
#else
    free(block);
#endif
}

static inline size_t say(char *text, size_t at, size_t size, const char *more)
{
    while (*more != 0 && at + 1 < size) {
        text[at++] = *more++;
    }
    text[at] = 0;
    return at;
}

/* Report `what` of `function`, with `number` and what is expected after it. Returns 0. */
static inline int refuse(const Instance *m, const char *function, const char *what, uint64_t number,
                         const char *expected)
{
    char text[400], digits[21];
    size_t first = sizeof digits - 1, at = 0;
    digits[first] = 0;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    at = say(text, at, sizeof text, function);
    at = say(text, at, sizeof text, ": ");
    at = say(text, at, sizeof text, what);
    at = say(text, at, sizeof text, " ");
    at = say(text, at, sizeof text, digits + first);
    say(text, at, sizeof text, expected);
    report(m, text);
    return 0;
}

/* The instance, where it is one and `function` may be called in its mode; else NULL. */
static inline Instance *called(void *instance, const char *function, int modes)
{
    Instance *m = instance;
    if (m == NULL || m->token != TOKEN) {
        return NULL;
    }
    if ((m->now.mode & modes) == 0) {
        refuse(m, function, "the instance is in mode", (uint64_t)m->now.mode,
               " (1 instantiated, 2 initialization, 4 event, 8 continuous time, 16 step, 32 terminated), where the "
               "standard does not allow this call");
        return NULL;
    }
    return m;
}

static inline void put(Instance *m, int32_t input, double value)
{
    m->now.x[input] = value;
    m->x[input] = (@scalar@)value;
    m->stale = ~(uint32_t)0;
}

static inline void start_over(Instance *m)
{
    int32_t i;
    m->now.mode = INSTANTIATED;
    m->now.time = 0;
    for (i = 0; i < N_IN; i++) {
        put(m, i, START[i]);
    }
}

/* A new instance; NULL, with a report, where `token` belongs to another FMU or this processor computes other bits. */
static inline Instance *instantiated(const char *function, const char *name, const char *token, int is_co_simulation,
                                     Logger logger, void *environment)
{
    size_t size = 0, i = 0;
    int32_t golden;
    Instance *m;
    while (name != NULL && name[size] != 0) {
        size++;
    }
    m = allocate(sizeof *m + size + 1);
    if (m == NULL) {
        return NULL;
    }
    for (i = 0; i < size; i++) {
        m->name[i] = name[i];
    }
    m->token = TOKEN;
    m->is_co_simulation = is_co_simulation;
    m->logger = logger;
    m->environment = environment;
    start_over(m);
    for (i = 0; token != NULL && i + 1 < sizeof TOKEN && token[i] == TOKEN[i];) {
        i++;
    }
    golden = @name@_selftest();
    if (token == NULL || token[i] != TOKEN[i]) {
        refuse(m, function, "the GUID or token is another one from character", i,
               " on; expected: that of the modelDescription.xml beside this binary");
    } else if (golden == KDPINN_UNSUPPORTED_CPU) {
        refuse(m, function, "this processor has not what the binary needs, code minus", 3,
               "; expected on x86-64: AVX2 and FMA. Or compile the files in sources/");
    } else if (golden == KDPINN_OTHER_ENVIRONMENT) {
        refuse(m, function, "the floating-point environment of this thread is not the default one, code minus", 4,
               ": it does not round to nearest even, or takes subnormal numbers for zero. The usual cause is another "
               "library in the process");
    } else if (golden != 0) {
        refuse(m, function, "the self-test failed at golden number", (uint64_t)golden,
               ": this machine computes other bits than the export did");
    } else if (@name@_integrity() != 0) {
        refuse(m, function, "the code or its constants are not those that were exported, code", 1,
               "; expected: the binary as it is in the FMU");
    } else {
        return m;
    }
    release(m);
    return NULL;
}

static inline int set(Instance *m, const char *function, uint32_t reference, double value)
{
    if (reference >= N_IN) {
        return refuse(m, function, "value reference", reference, " is no input and no parameter");
    }
    if (TUNABLE[reference] && m->now.mode == CONTINUOUS) {
        return refuse(m, function, "value reference", reference, " is a parameter; expected: a change in event mode");
    }
    put(m, (int32_t)reference, value);
    return 1;
}

/* Number `place` of all functions at x; NULL where the function cannot be computed. */
static inline const @scalar@ *number(Instance *m, const char *function, int32_t place)
{
    int32_t i = 0, code = KDPINN_OK;
    while (place >= FIRST[i + 1]) {
        i++;
    }
    if (m->stale >> i & 1) {
        switch (i) {
@each function@
        case @index@:
            code = @name@_@function@(m->x, m->y + FIRST[@index@], 1);
            break;
@end@
        }
        if (code != KDPINN_OK) {
            refuse(m, function, "the model returned the code minus", (uint64_t)-(int64_t)code, "; see kdpinn_edge.h");
            return NULL;
        }
        m->stale &= ~((uint32_t)1 << i);
    }
    return m->y + place;
}

static inline int get(Instance *m, const char *function, uint32_t reference, double *value)
{
    const @scalar@ *found;
    if (reference < N_IN) {
        *value = m->now.x[reference];
    } else if (reference == TIME) {
        *value = m->now.time;
    } else if (reference < TIME) {
        found = number(m, function, PLACES[reference - N_IN]);
        if (found == NULL) {
            return 0;
        }
        *value = *found;
    } else {
        return refuse(m, function, "value reference", reference, " is no variable");
    }
    return 1;
}

/* The derivative of an output by an input or parameter. */
static inline int derivative(Instance *m, const char *function, uint32_t output, uint32_t input, double *value)
{
    const @scalar@ *found;
    int32_t place = -1;
    if (DIFFERENTIABLE && N_IN <= output && output < TIME && input < N_IN) {
        place = DERIVATIVES[(output - N_IN) * N_IN + input];
    }
    if (place < 0) {
        refuse(m, function, "value reference", output, " has no derivative by");
        return refuse(m, function, "value reference", input, "; expected: an output, by an input");
    }
    found = number(m, function, place);
    if (found == NULL) {
        return 0;
    }
    *value = *found;
    return 1;
}

static inline int save(Instance *m, void **saved)
{
    State *state;
    if (saved == NULL) {
        return 0;
    }
    state = *saved != NULL ? *saved : allocate(sizeof *state);
    if (state == NULL) {
        return 0;
    }
    *state = m->now;
    *saved = state;
    return 1;
}

static inline int restore(Instance *m, const State *state)
{
    int32_t i;
    if (state == NULL) {
        return 0;
    }
    m->now.mode = state->mode;
    m->now.time = state->time;
    for (i = 0; i < N_IN; i++) {
        put(m, i, state->x[i]);
    }
    return 1;
}

/* Let go of a saved state, and of the pointer to it. */
static inline void discard(void **saved)
{
    if (saved != NULL) {
        release(*saved);
        *saved = NULL;
    }
}

static inline int serialized_size(const State *state, size_t *size)
{
    if (state == NULL || size == NULL) {
        return 0;
    }
    *size = sizeof *state;
    return 1;
}

static inline void copy(void *to, const void *from, size_t bytes)
{
    unsigned char *written = to;
    const unsigned char *read = from;
    size_t i;
    for (i = 0; i < bytes; i++) {
        written[i] = read[i];
    }
}

static inline int serialize(const State *state, void *bytes, size_t size)
{
    if (state == NULL || bytes == NULL || size < sizeof *state) {
        return 0;
    }
    copy(bytes, state, sizeof *state);
    return 1;
}

/* A saved state from its bytes; it replaces what `saved` has. */
static inline int deserialize(const void *bytes, size_t size, void **saved)
{
    State state;
    if (bytes == NULL || size < sizeof state || saved == NULL) {
        return 0;
    }
    copy(&state, bytes, sizeof state);
    if (state.mode <= 0 || state.mode > TERMINATED || (state.mode & (state.mode - 1)) != 0) {
        return 0;
    }
    if (*saved == NULL) {
        *saved = allocate(sizeof state);
    }
    if (*saved == NULL) {
        return 0;
    }
    copy(*saved, &state, sizeof state);
    return 1;
}

#endif /* KDPINN_FMU_@NAME@_H */
