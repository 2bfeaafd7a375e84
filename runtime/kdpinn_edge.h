/* kdpinn_edge.h: the C interface of every exported model, ABI version 4.
 *
 * A model `NAME` exports these functions, which its own header <NAME.h> declares with their types:
 *
 *     int32_t NAME_eval(const T *x, T *y, int64_t n);      y[i] = u(x[i]);  x: (n, n_in), y: (n, n_out), row-major
 *     int32_t NAME_jet(const T *x, T *y, int64_t n);       the same for derivatives of u, where they were exported
 *     int32_t NAME_residual(const T *x, T *y, int64_t n);  the same for what is left of u's equation, where it was
 *     int64_t NAME_outside(const T *x, int64_t n);         how many of the n points lie outside the domain box
 *     int32_t NAME_selftest(void);                         replays golden vectors of all functions and compares bits,
 *                                                          once the floating-point environment is the default one
 *     int32_t NAME_integrity(void);                        0 if the CRC of code and constants is as exported, else 1
 *     const kdpinn_model *NAME_model(void);                the description below
 *
 * with T = float or double; and of a model in integers, with scales that its own header states:
 *
 *     int32_t NAME_eval_fixed(const int32_t *x, int32_t *y, int64_t n);  also of the jet
 *
 * Where inputs are constant during a call, there is a second form of eval, jet and residual:
 *
 *     int32_t NAME_eval_for(const T *p, const T *x, T *y, int64_t n);
 *                                                          y[i] = u(p, x[i]);  p: those inputs, x: the others
 *
 * They allocate nothing, lock nothing, print nothing, keep no state and call nothing outside
 * the library: any number of threads may call them at once. The caller owns all buffers; natural alignment suffices;
 * x and y must not overlap. n = 0 is fine. Results do not depend on n: the same point gives the same bits.
 *
 * For several cores the caller brings the threads: kdpinn_range_begin at the end of this file says which points are
 * whose, and NAME_eval, or another, is called once per thread. The bits are those of one call for all points.
 */
#ifndef KDPINN_EDGE_H
#define KDPINN_EDGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cdef: begin */
enum {
    KDPINN_ABI = 4
};

enum {
    KDPINN_OK = 0,
    KDPINN_NULL_POINTER = -1,     /* x or y is NULL and n > 0 */
    KDPINN_NEGATIVE_COUNT = -2,   /* n < 0 */
    KDPINN_UNSUPPORTED_CPU = -3,  /* nothing in the library fits this CPU */
    KDPINN_OTHER_ENVIRONMENT = -4 /* of selftest: this thread rounds otherwise, or takes subnormal numbers for zero */
};

typedef struct kdpinn_function {
    const char *name;                /* "eval", "jet" or "residual" */
    const char *program_sha256;      /* identity of the Program, 64 hex digits */
    const char *const *output_names; /* n_out strings, the columns of y */
    int32_t (*f32)(const float *x, float *y, int64_t n);   /* NULL unless scalar_bytes is 4 */
    int32_t (*f64)(const double *x, double *y, int64_t n); /* NULL unless scalar_bytes is 8 */
    int32_t n_out;                   /* numbers per output point */
} kdpinn_function;

typedef struct kdpinn_model {
    int32_t abi;                      /* KDPINN_ABI of the library */
    int32_t scalar_bytes;             /* sizeof(T): 4 or 8 */
    int32_t n_in;                     /* numbers per input point */
    int32_t n_functions;              /* how many of eval, jet, residual there are */
    const char *name;                 /* the NAME of the functions */
    const char *profile;              /* numerics profile: equal profile, equal bits */
    const char *target;               /* what the machine code was compiled for; "none": nothing here fits this CPU */
    const char *const *input_names;   /* n_in strings, the columns of x */
    const double *lower;              /* domain box, n_in numbers; -inf where it is open */
    const double *upper;              /* domain box, n_in numbers; +inf where it is open */
    const kdpinn_function *functions; /* n_functions of them, in the order above; functions[0] is eval */
    int64_t (*outside_f32)(const float *x, int64_t n);  /* NULL unless scalar_bytes is 4 */
    int64_t (*outside_f64)(const double *x, int64_t n); /* NULL unless scalar_bytes is 8 */
    int32_t (*selftest)(void); /* 0: all bits as exported; k > 0: golden number k is the first that differs; or a code */
    int32_t (*integrity)(void); /* 0: code and constants in memory are those that were exported; 1: a bit of them is not */
    const struct kdpinn_model *const *variants; /* n_variants descriptions, best first: what the CPU decides between */
    int32_t n_variants;                         /* 0 where the library has code for one target only */
    const char *statement_sha256; /* of what manifest.json states of the model, 64 hex digits; "" without a manifest */
} kdpinn_model;
/* cdef: end */

enum {
    KDPINN_TILE = 64 /* points */
};

/* The first point of part `part` when n points are split into `parts`; n for part = parts. So thread k of `threads` does
 *
 *     int64_t begin = kdpinn_range_begin(n, k, threads), end = kdpinn_range_begin(n, k + 1, threads);
 *     NAME_eval(x + begin * n_in, y + begin * n_out, end - begin);
 *
 * Parts begin at multiples of KDPINN_TILE and differ by at most as much; where points are few, some are empty.
 * n >= 0, 0 <= part <= parts, parts >= 1.
 */
static inline int64_t kdpinn_range_begin(int64_t n, int64_t part, int64_t parts) {
    const int64_t tiles = n / KDPINN_TILE, each = tiles / parts, more = tiles % parts;
    return part == parts ? n : KDPINN_TILE * (part * each + (part < more ? part : more));
}

/* 1 if the functions of the model are those of the n Programs with these hashes, in the order of eval, jet, residual;
 * else 0. NAME_matches() of a model's own header asks it.
 */
static inline int32_t kdpinn_has_programs(const kdpinn_model *model, const char *const *programs, int32_t n) {
    int32_t i, k, same = model->n_functions == n;
    for (i = 0; same && i < n; i++) {
        for (k = 0; same && k < 64; k++) {
            same = model->functions[i].program_sha256[k] == programs[i][k];
        }
    }
    return same;
}

#ifdef __cplusplus
}
#endif

#endif /* KDPINN_EDGE_H */
