/* threads.c: one evaluation on several cores. The model uses no threads; the program brings its own.
 *
 *     kdpinn-edge export burgers --out burgers
 *     cc -std=c99 -O2 -pthread -Iburgers threads.c -Lburgers -lburgers -Wl,-rpath,'$ORIGIN/burgers' -o threads
 *     ./threads 2
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "burgers.h"

enum { N_POINTS = 100000, MOST_THREADS = 64 };

static float x[N_POINTS][BURGERS_N_IN], y[N_POINTS][BURGERS_EVAL_N_OUT], expected[N_POINTS][BURGERS_EVAL_N_OUT];

typedef struct {
    int64_t begin, end;
    int32_t status;
} range;

static void *evaluate(void *argument) {
    range *r = argument;
    r->status = burgers_eval(x[r->begin], y[r->begin], r->end - r->begin);
    return NULL;
}

static void fail(const char *what) {
    fprintf(stderr, "threads: %s\n", what);
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv) {
    const int threads = argc == 2 ? atoi(argv[1]) : 2;
    pthread_t thread[MOST_THREADS];
    range ranges[MOST_THREADS];
    if (threads < 1 || threads > MOST_THREADS)
        fail("usage: threads [1 to 64]");
    for (int i = 0; i < N_POINTS; i++)
        for (int c = 0; c < BURGERS_N_IN; c++)
            x[i][c] = (float)((i + 1) * (c + 1) % 1009) / 1009;

    for (int k = 0; k < threads; k++) {
        ranges[k].begin = kdpinn_range_begin(N_POINTS, k, threads);
        ranges[k].end = kdpinn_range_begin(N_POINTS, k + 1, threads);
    }
    for (int k = 1; k < threads; k++)
        if (pthread_create(&thread[k], NULL, evaluate, &ranges[k]) != 0)
            fail("pthread_create failed");
    evaluate(&ranges[0]);
    for (int k = 1; k < threads; k++)
        if (pthread_join(thread[k], NULL) != 0)
            fail("pthread_join failed");
    for (int k = 0; k < threads; k++)
        if (ranges[k].status != KDPINN_OK)
            fail("burgers_eval refused its arguments");

    if (burgers_eval(x[0], expected[0], N_POINTS) != KDPINN_OK)
        fail("burgers_eval refused its arguments");
    if (memcmp(y, expected, sizeof y) != 0)
        fail("other bits than one thread");
    printf("%d points on %d threads: the bits of one thread\n", (int)N_POINTS, threads);
    return EXIT_SUCCESS;
}
