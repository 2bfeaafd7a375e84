/* harness.c: times a model in a C program's own loop.
 *
 *     harness LIBRARY NAME N SECONDS POINTS VALUES
 *
 * loads LIBRARY, checks the description and the selftest of the model NAME, reads N points from the file POINTS (n_in
 * numbers each, in the model's own precision and byte order), evaluates them over and over for about SECONDS, writes
 * the values to the file VALUES, and prints one line of JSON. A sample is the mean of `batch` calls, as in timing.py:
 * batch is 1 unless reading the clock would be more than 1 % of the sample.
 */
#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kdpinn_edge.h"

enum { LEAST_SAMPLES = 100, MOST_SAMPLES = 10000 };
static const double CLOCK_SHARE = 0.01;

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

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
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

static double least_of_five(const call *c, int64_t batch) {
    double least = sample_ns(c, batch);
    for (int i = 1; i < 5; i++) {
        double next = sample_ns(c, batch);
        least = next < least ? next : least;
    }
    return least;
}

static double clock_ns(void) {
    double least = 1e9;
    for (int i = 0; i < 1000; i++) {
        double start = now_ns(), spent = now_ns() - start;
        least = spent < least ? spent : least;
    }
    return least;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The description of the model NAME in the library at `path`. */
static const kdpinn_model *open_model(const char *path, const char *name) {
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
    if (model->selftest() != 0)
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

int main(int argc, char **argv) {
    if (argc != 7)
        fail("usage", "harness LIBRARY NAME N SECONDS POINTS VALUES");
    const kdpinn_model *model = open_model(argv[1], argv[2]);
    const int64_t n = strtoll(argv[3], NULL, 10);
    const double seconds = strtod(argv[4], NULL);
    if (n < 0)
        fail("N", "negative");

    const size_t scalar = (size_t)model->scalar_bytes;
    const size_t x_size = (size_t)n * (size_t)model->n_in * scalar;
    const size_t y_size = (size_t)n * (size_t)model->functions[0].n_out * scalar;
    void *x = allocate(x_size), *y = allocate(y_size);
    transfer(argv[5], "rb", x, x_size);
    const call c = {model, x, y, n};

    evaluate(&c);
    const double clock = clock_ns();
    int64_t batch = 1;
    double one = least_of_five(&c, batch);
    while (one * (double)batch * CLOCK_SHARE < clock) {
        batch *= 2;
        one = least_of_five(&c, batch);
    }
    double wanted = seconds * 1e9 / (one * (double)batch);
    size_t count = wanted < LEAST_SAMPLES ? LEAST_SAMPLES : wanted > MOST_SAMPLES ? MOST_SAMPLES : (size_t)wanted;
    double *samples = allocate(count * sizeof *samples);
    for (size_t i = 0; i < count; i++)
        samples[i] = sample_ns(&c, batch);
    qsort(samples, count, sizeof *samples, ascending);
    transfer(argv[6], "wb", y, y_size);

    /* nearest rank: the smallest sample that at least p of all do not exceed */
    printf("{\"p50_ns\": %.3f, \"p99_ns\": %.3f, \"max_ns\": %.3f, \"min_ns\": %.3f, \"samples\": %zu, "
           "\"batch\": %" PRId64 "}\n",
           samples[(count + 1) / 2 - 1], samples[(99 * count + 99) / 100 - 1], samples[count - 1], samples[0], count,
           batch);
    free(samples);
    free(y);
    free(x);
    return EXIT_SUCCESS;
}
