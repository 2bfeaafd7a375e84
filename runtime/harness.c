/* harness.c: calls a model in a C program's own loops and times it. timing.py says what the loops are.
 *
 *     harness LIBRARY NAME N POINTS VALUES [LIBRARY NAME POINTS]
 *
 * loads LIBRARY, checks the description and the selftest of the model NAME, and reads N points from the file POINTS (n_in
 * numbers each, in the model's own precision and byte order). LIBRARY "-" is a model that does nothing. The last three
 * are the partner of pairs; without them it is a loop that is always the same. It prints how many nanoseconds loading
 * took, and then answers each line of its input with one line of numbers, nanoseconds per call:
 *
 *     clock                          what reading the clock costs
 *     once                           one call, with nothing before it: its time on the core
 *     closed BATCH COUNT             COUNT means of BATCH calls, after a call that is not timed
 *     partner BATCH COUNT            the same of the partner
 *     paired BATCH COUNT BATCH COUNT NS
 *                                    for NS nanoseconds stretches of calls, and of the partner's: how many pairs; for each
 *                                    the times on the core of one call of both, and the longest that the loop that is
 *                                    always the same took before, between and after them; the samples
 *     periodic PERIOD_NS COUNT       COUNT latencies from the intended starts, each followed by what it would be on a
 *                                    core that nobody else used
 *     cold SWEEP_BYTES COUNT         COUNT calls, each after SWEEP_BYTES of other memory were written
 *     alone CALLS COUNT              COUNT times on the core, each the mean of CALLS calls, after one that is not timed
 *     values                         nothing; one call, whose values go to the file VALUES
 *
 * Time on the core is what on_core.py says, of the one thread that this program has.
 */
#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kdpinn_edge.h"

enum { MOST_SAMPLES = 1000000, MOST_PAIRS = 10000, LEAST_PAIRS = 2, KNOWN_WORK = 200, CHAINS = 32 };

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

static double read_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return ns(t);
}

static double now_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

/* As many chains as keep all units of the core busy: who shares the core makes it slower. */
static void known_work(void) {
    volatile double result;
    double sums[CHAINS] = {0.0}, sum = 0.0;
    for (int i = 0; i < KNOWN_WORK; i++)
        for (int k = 0; k < CHAINS; k++)
            sums[k] = sums[k] * 0.999 + 1e-9;
    for (int k = 0; k < CHAINS; k++)
        sum += sums[k];
    result = sum; /* or a compiler leaves the loop out */
    (void)result;
}

/* One call; the partner that is always the same has no model. */
static void evaluate(const call *c) {
    if (c->model == NULL) {
        known_work();
        return;
    }
    const kdpinn_function *eval = &c->model->functions[0];
    int32_t code = c->model->scalar_bytes == 4 ? eval->f32(c->x, c->y, c->n) : eval->f64(c->x, c->y, c->n);
    if (code != KDPINN_OK)
        fail("eval", "returned an error code");
}

typedef struct {
    double wall, cpu, waited;
} stopwatch;

static int schedstat = -1;
static double overhead_ns = 0.0; /* of a reading of the processor time */

/* How long this thread could have run and another one did; 0 where the kernel does not count it. */
static double waited_ns(void) {
    char text[80];
    int64_t ran = 0, waited = 0;
    ssize_t size = schedstat < 0 ? -1 : pread(schedstat, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    return sscanf(text, "%" SCNd64 " %" SCNd64, &ran, &waited) == 2 ? (double)waited : 0.0;
}

static stopwatch started(void) {
    stopwatch s;
    s.waited = waited_ns();
    s.cpu = read_ns(CLOCK_PROCESS_CPUTIME_ID);
    s.wall = now_ns();
    return s;
}

/* Nanoseconds on the core since the start, without those that were slept through on purpose. */
static double on_core_ns(const stopwatch *s, double idle) {
    const double wall = now_ns() - s->wall - idle, cpu = read_ns(CLOCK_PROCESS_CPUTIME_ID) - s->cpu - overhead_ns;
    const double granted = wall - (waited_ns() - s->waited), least = 0.01;
    const double longer = cpu > granted ? cpu : granted;
    return longer > least ? longer : least;
}

static void calibrate(void) {
    double least = 1e9;
    schedstat = open("/proc/self/schedstat", O_RDONLY);
    for (int i = 0; i < 200; i++) {
        const double start = read_ns(CLOCK_PROCESS_CPUTIME_ID);
        now_ns(), now_ns();
        const double spent = read_ns(CLOCK_PROCESS_CPUTIME_ID) - start;
        least = spent < least ? spent : least;
    }
    overhead_ns = least;
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
    if (golden == KDPINN_OTHER_ENVIRONMENT)
        fail(symbol, "the floating-point environment is not the default one");
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

/* The time on the core of one call, in a stretch of `count` samples of `batch` calls, after one that is not timed. */
static double stretch(const call *c, int64_t batch, int64_t count, double *samples) {
    evaluate(c);
    const stopwatch s = started();
    for (int64_t k = 0; k < count; k++)
        samples[k] = sample_ns(c, batch);
    return on_core_ns(&s, 0.0) / (double)(batch * count);
}

/* The time of the work that is always the same in warm caches, or `slowest` where that is longer. */
static double slower_of(double slowest) {
    static const call WORK = {NULL, NULL, NULL, 0};
    const double first = sample_ns(&WORK, 1), second = sample_ns(&WORK, 1), warm = first < second ? first : second;
    return warm > slowest ? warm : slowest;
}

/* Prints its answer itself: nobody knows before how many pairs there will be. */
static void paired(const call *c, const call *partner, int64_t batch, int64_t count, int64_t their_batch,
                   int64_t their_count, double spent_ns) {
    double *samples = allocate(MOST_SAMPLES * sizeof *samples), *theirs = allocate((size_t)their_count * sizeof *theirs);
    double *pairs = allocate(3 * MOST_PAIRS * sizeof *pairs);
    const double end = now_ns() + spent_ns;
    int64_t k = 0;
    for (; k < MOST_PAIRS && (k + 1) * count <= MOST_SAMPLES && (k < LEAST_PAIRS || now_ns() < end); k++) {
        double *const pair = pairs + 3 * k;
        pair[2] = slower_of(0.0);
        if (k % 2 == 1) {
            pair[1] = stretch(partner, their_batch, their_count, theirs);
            pair[2] = slower_of(pair[2]);
        }
        pair[0] = stretch(c, batch, count, samples + k * count);
        pair[2] = slower_of(pair[2]);
        if (k % 2 == 0) {
            pair[1] = stretch(partner, their_batch, their_count, theirs);
            pair[2] = slower_of(pair[2]);
        }
    }
    printf("%" PRId64 " ", k);
    for (int64_t i = 0; i < 3 * k; i++)
        printf("%.2f ", pairs[i]);
    for (int64_t i = 0; i < k * count; i++)
        printf("%.2f ", samples[i]);
    free(pairs);
    free(theirs);
    free(samples);
}

static void periodic(const call *c, int64_t period, int64_t count, double *found) {
    enum { SECOND = 1000000000 };
    struct timespec start;
    double on_core = 0.0;
    evaluate(c);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t k = 0; k < count; k++) {
        int64_t next = start.tv_nsec + period;
        start.tv_sec += (time_t)(next / SECOND);
        start.tv_nsec = (long)(next % SECOND);
        const stopwatch s = started();
        const double ahead = ns(start) - now_ns(), backlog = on_core - (double)period;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
        evaluate(c);
        const double late = now_ns() - ns(start);
        on_core = (backlog > 0.0 ? backlog : 0.0) + on_core_ns(&s, ahead > 0.0 ? ahead : 0.0);
        found[2 * k] = late;
        found[2 * k + 1] = on_core < late ? on_core : late;
    }
}

static void alone(const call *c, int64_t batch, int64_t count, double *samples) {
    evaluate(c);
    for (int64_t k = 0; k < count; k++) {
        const stopwatch s = started();
        for (int64_t i = 0; i < batch; i++)
            evaluate(c);
        samples[k] = on_core_ns(&s, 0.0) / (double)batch;
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
static void answer(const call *c, const call *partner, const char *line, const char *values, size_t y_size) {
    char verb[16];
    int64_t a = 0, count = 0, their_batch = 0, their_count = 0, spent = 0;
    int fields = sscanf(line, "%15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, verb, &a, &count,
                        &their_batch, &their_count, &spent);
    bool is_loop = fields == 3 && a > 0 && count > 0 && count <= MOST_SAMPLES;
    bool is_paired = fields == 6 && a > 0 && count > 0 && count <= MOST_SAMPLES / LEAST_PAIRS && their_batch > 0 &&
                     their_count > 0 && their_count <= MOST_SAMPLES;
    double *samples = allocate(2 * (is_loop ? (size_t)count : 1) * sizeof *samples);
    if (is_loop && strcmp(verb, "closed") == 0) {
        closed(c, a, count, samples);
    } else if (is_loop && strcmp(verb, "partner") == 0) {
        closed(partner, a, count, samples);
    } else if (is_loop && strcmp(verb, "periodic") == 0) {
        periodic(c, a, count, samples);
        count *= 2;
    } else if (is_loop && strcmp(verb, "cold") == 0) {
        cold(c, a, count, samples);
    } else if (is_loop && strcmp(verb, "alone") == 0) {
        alone(c, a, count, samples);
    } else if (is_paired && strcmp(verb, "paired") == 0) {
        paired(c, partner, a, count, their_batch, their_count, (double)spent);
        count = 0;
    } else if (fields == 1 && strcmp(verb, "once") == 0) {
        const stopwatch s = started();
        evaluate(c);
        count = 1;
        samples[0] = on_core_ns(&s, 0.0);
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

/* The call of `model` at the n points in the file at `points`. */
static call at_points(const kdpinn_model *model, int64_t n, const char *points) {
    const size_t scalar = (size_t)model->scalar_bytes, size = (size_t)n * (size_t)model->n_in * scalar;
    void *x = allocate(size), *y = allocate((size_t)n * (size_t)model->functions[0].n_out * scalar);
    transfer(points, "rb", x, size);
    const call c = {model, x, y, n};
    return c;
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 9)
        fail("usage", "harness LIBRARY NAME N POINTS VALUES [LIBRARY NAME POINTS]");
    calibrate();
    const double start = now_ns();
    const kdpinn_model *model = open_model(argv[1], argv[2]);
    printf("%.2f\n", now_ns() - start);
    fflush(stdout);
    const int64_t n = strtoll(argv[3], NULL, 10);
    if (n < 0)
        fail("N", "negative");
    const call c = at_points(model, n, argv[4]);
    const call partner = argc == 9 ? at_points(open_model(argv[6], argv[7]), n, argv[8]) : (call){NULL, NULL, NULL, 0};
    const size_t y_size = (size_t)n * (size_t)model->functions[0].n_out * (size_t)model->scalar_bytes;
    for (char line[120]; fgets(line, sizeof line, stdin) != NULL;)
        answer(&c, &partner, line, argv[5], y_size);
    return EXIT_SUCCESS;
}
