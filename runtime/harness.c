/* harness.c: calls a model in a C program's own loops and times it. timing.py says what the loops are.
 *
 *     harness LIBRARY NAME N POINTS VALUES
 *
 * loads LIBRARY, checks the description and the selftest of the model NAME, and reads N points from the file POINTS (n_in
 * numbers each, in the model's own precision and byte order). LIBRARY "-" is a model that does nothing. It prints how
 * many nanoseconds loading took, and then answers each line of its input with one line of numbers, nanoseconds per call:
 *
 *     clock                          what reading the clock costs
 *     once                           one call, with nothing before it
 *     closed BATCH COUNT             COUNT means of BATCH calls, after a call that is not timed
 *     periodic PERIOD_NS COUNT       COUNT latencies from the intended starts, as above
 *     cold SWEEP_BYTES COUNT         COUNT calls, each after SWEEP_BYTES of other memory were written
 *     values                         nothing; one call, whose values go to the file VALUES
 */
#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kdpinn_edge.h"

enum { MOST_SAMPLES = 1000000 };

typedef struct {
    const kdpinn_model *model;
    const void *x;
    void *y;
    int64_t n;
} call;

static void fail(const char *what, const char *detail) {
    fprintf(stderr, "harness: %s: %s\n", what, detail);
    exit(EXIT_FAILURE);
}

static double ns(struct timespec t) {
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ns(t);
}

static void evaluate(const call *c) {
    const kdpinn_function *eval = &c->model->functions[0];
    int32_t code = c->model->scalar_bytes == 4 ? eval->f32(c->x, c->y, c->n) : eval->f64(c->x, c->y, c->n);
    if (code != KDPINN_OK)
        fail("eval", "returned an error code");
}

/* Nanoseconds per call over `batch` calls. */
static double sample_ns(const call *c, int64_t batch) {
    double start = now_ns();
    for (int64_t i = 0; i < batch; i++)
        evaluate(c);
    return (now_ns() - start) / (double)batch;
}

static double clock_ns(void) {
    double least = 1e9;
    for (int i = 0; i < 1000; i++) {
        double start = now_ns(), spent = now_ns() - start;
        least = spent < least ? spent : least;
    }
    return least;
}

static int32_t do_nothing(const float *x, float *y, int64_t n) {
    (void)x, (void)y, (void)n;
    return KDPINN_OK;
}

static const kdpinn_function DO_NOTHING = {.name = "eval", .f32 = do_nothing, .n_out = 1};

static const kdpinn_model NOTHING = {
    .abi = KDPINN_ABI, .scalar_bytes = 4, .n_in = 1, .n_functions = 1, .functions = &DO_NOTHING};

/* The description of the model NAME in the library at `path`. */
static const kdpinn_model *open_model(const char *path, const char *name) {
    if (strcmp(path, "-") == 0)
        return &NOTHING;
    char symbol[64];
    const kdpinn_model *(*describe)(void);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *address;
    if (library == NULL)
        fail("dlopen", dlerror());
    snprintf(symbol, sizeof symbol, "%s_model", name);
    address = dlsym(library, symbol);
    if (address == NULL)
        fail("dlsym", dlerror());
    memcpy(&describe, &address, sizeof describe); /* ISO C has no cast from object to function pointers */
    const kdpinn_model *model = describe();
    if (model == NULL || model->abi != KDPINN_ABI)
        fail(symbol, "another ABI version");
    const int32_t golden = model->selftest();
    if (golden == KDPINN_UNSUPPORTED_CPU)
        fail(symbol, "nothing in the library fits this CPU");
    if (golden != 0)
        fail(symbol, "selftest found other bits than at export");
    return model;
}

static void *allocate(size_t size) {
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL)
        fail("malloc", "out of memory");
    return memory;
}

static void transfer(const char *path, const char *mode, void *data, size_t size) {
    FILE *file = fopen(path, mode);
    size_t done = 0;
    if (file == NULL)
        fail(path, "cannot be opened");
    done = mode[0] == 'r' ? fread(data, 1, size, file) : fwrite(data, 1, size, file);
    if (done != size || fclose(file) != 0)
        fail(path, "too short, or the disk is full");
}

static void closed(const call *c, int64_t batch, int64_t count, double *samples) {
    evaluate(c);
    for (int64_t k = 0; k < count; k++)
        samples[k] = sample_ns(c, batch);
}

static void periodic(const call *c, int64_t period, int64_t count, double *samples) {
    enum { SECOND = 1000000000 };
    struct timespec start;
    evaluate(c);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t k = 0; k < count; k++) {
        int64_t next = start.tv_nsec + period;
        start.tv_sec += (time_t)(next / SECOND);
        start.tv_nsec = (long)(next % SECOND);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
        evaluate(c);
        samples[k] = now_ns() - ns(start);
    }
}

static void cold(const call *c, int64_t size, int64_t count, double *samples) {
    char *memory = allocate((size_t)size);
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < size; i += 64)
            ((volatile char *)memory)[i] = (char)k;
        samples[k] = sample_ns(c, 1);
    }
    free(memory);
}

/* Answers one line of input. */
static void answer(const call *c, const char *line, const char *values, size_t y_size) {
    char verb[16];
    int64_t a = 0, count = 0;
    int fields = sscanf(line, "%15s %" SCNd64 " %" SCNd64, verb, &a, &count);
    bool is_loop = fields == 3 && a > 0 && count > 0 && count <= MOST_SAMPLES;
    double *samples = allocate((is_loop ? (size_t)count : 1) * sizeof *samples);
    if (is_loop && strcmp(verb, "closed") == 0) {
        closed(c, a, count, samples);
    } else if (is_loop && strcmp(verb, "periodic") == 0) {
        periodic(c, a, count, samples);
    } else if (is_loop && strcmp(verb, "cold") == 0) {
        cold(c, a, count, samples);
    } else if (fields == 1 && strcmp(verb, "once") == 0) {
        count = 1;
        samples[0] = sample_ns(c, 1);
    } else if (fields == 1 && strcmp(verb, "clock") == 0) {
        count = 1;
        samples[0] = clock_ns();
    } else if (fields == 1 && strcmp(verb, "values") == 0) {
        evaluate(c);
        transfer(values, "wb", c->y, y_size);
    } else {
        fail("not understood", line);
    }
    for (int64_t k = 0; k < count; k++)
        printf("%.2f ", samples[k]);
    printf("\n");
    fflush(stdout);
    free(samples);
}

int main(int argc, char **argv) {
    if (argc != 6)
        fail("usage", "harness LIBRARY NAME N POINTS VALUES");
    const double start = now_ns();
    const kdpinn_model *model = open_model(argv[1], argv[2]);
    const int64_t n = strtoll(argv[3], NULL, 10);
    if (n < 0)
        fail("N", "negative");
    const size_t scalar = (size_t)model->scalar_bytes;
    const size_t x_size = (size_t)n * (size_t)model->n_in * scalar;
    const size_t y_size = (size_t)n * (size_t)model->functions[0].n_out * scalar;
    void *x = allocate(x_size), *y = allocate(y_size);
    printf("%.2f\n", now_ns() - start);
    fflush(stdout);
    transfer(argv[4], "rb", x, x_size);
    const call c = {model, x, y, n};
    for (char line[80]; fgets(line, sizeof line, stdin) != NULL;)
        answer(&c, line, argv[5], y_size);
    free(y);
    free(x);
    return EXIT_SUCCESS;
}
