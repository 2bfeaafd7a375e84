/* model.c: the model model in C99, float32. Written by kdpinn_edge 0.1.0; declared in model.h.
 *
 * numerics profile fma-2: a multiply-add rounds once
 *
 * model_eval is the Program b060cd0949d64d005fa407aeb0343f907c0768d25a13bea98019bc097bc27b1c
 *
 *     mlp_2_1x4_1: x0[1], x1[1] -> u[1]
 *         x[2]  = concat(x0, x1)
 *         a0[4] = affine(x)  weight 4x2
 *         h0[4] = tanh(a0)
 *         u[1]  = affine(h0)  weight 1x4
 *
 * Any C99 compiler whose float and double are those of IEEE 754 gives the same bits; model_selftest checks that.
 * Libraries: none.
 *
 * To be fast: on x86-64 compile with -march=x86-64-v3, or -mfma: without this instruction every multiply-add is emulated, and a
 * call takes 10 to 30 times as long.
 */
#include "model.h"

#include <float.h>
#include <stddef.h>

/* No sum may swallow the rounding of a product, no loop become a call of a library. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((no_builtin)), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-tree-loop-distribute-patterns")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#else
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(_M_FP_FAST)
#error "model.c promises bits, which fast-math changes: compile it without -ffast-math, -Ofast or /fp:fast"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0
#error "model.c accepts NaN and infinities: compile it without -ffinite-math-only"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16 is about _Float16 alone */
#error "model.c needs every operation rounded to its own type: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || (DBL_MANT_DIG != 53 && DBL_MANT_DIG != 24)
#error "model.c needs float and double to be the formats of IEEE 754"
#endif

static const float KDPINN_MODEL_W_EVAL[17] = {
     0x1.295486p-4f,  0x1.7a9f44p-2f, -0x1.3cb0fap-2f,  0x1.81777ep-1f, -0x1.3867b6p-4f,  0x1.f02426p-5f,
     0x1.ab8e08p-3f,  0x1.17f5d6p-1f, -0x1.203ffcp-4f, -0x1.032888p-3f,  -0x1.fe962p-5f,  0x1.0ed57cp-8f,
    -0x1.787148p+0f,  -0x1.1b64ep-3f, -0x1.93728cp-1f, -0x1.da3dd8p-2f, -0x1.bddb62p-5f
};

static const float KDPINN_MODEL_BOX[4] = {
    -1.0f, -1.0f,  1.0f,  1.0f
};

static const union { uint32_t bits[80]; float numbers[80]; } KDPINN_MODEL_GOLDEN_X = {{
    0x3e8c3fafu, 0xbeebbd08u, 0xbf6b0585u, 0xbf7789b1u, 0x3f2064f5u, 0x3f5354b3u, 0x3e5a63dcu, 0x3eeb0125u,
    0x3db2b01eu, 0x3f5ec1d0u, 0x3f21b78fu, 0xbf7e990fu, 0x3f36fdb1u, 0xbf6ecddfu, 0x3eeb2accu, 0xbf261077u,
    0x3f39f296u, 0x3da9d33eu, 0xbecd1853u, 0xbe1e562au, 0xbf718016u, 0xbf405df1u, 0x3eaeb82bu, 0x3e96b8d9u,
    0x3e6c4f08u, 0xbe6e3a76u, 0x3f7e924du, 0x3f76300du, 0x3ebdfeb8u, 0x3e9a11ffu, 0x3ec0f82eu, 0xbe637d2au,
    0xbf3ad4a2u, 0x3ee2cdd7u, 0x3d4fb3deu, 0xbec24ff4u, 0xbce812d0u, 0x3f476af3u, 0x3f5e3af4u, 0xbe919e23u,
    0x3e127e3bu, 0xbeb667dfu, 0x3e412060u, 0xbea5fa9au, 0xbe5df6dcu, 0x3f47d20au, 0xbf0bb200u, 0x3e7c498bu,
    0xbf54fbf1u, 0x3f2a5055u, 0x3f12fe8du, 0xbf05715eu, 0x3f40c28bu, 0xbf62035fu, 0xbea7d0eeu, 0xbf330e92u,
    0xbdcb68f3u, 0x3f17b7d1u, 0xbf09e944u, 0xbf655d77u, 0xbe437a53u, 0xbf1a5c80u, 0xbf5188d1u, 0x3e24854eu,
    0xbece229au, 0x3eb01f6du, 0xbf19d91du, 0x3f625ca6u, 0xbe8a208fu, 0xbf49fc86u, 0x3e8434edu, 0x3f5ab400u,
    0xbdf43716u, 0x3f68c016u, 0xb95a7e9au, 0xbe1921bcu, 0x3e763278u, 0x3f7d7d4au, 0x7fc00000u, 0x7fc00000u
}};

static const union { uint32_t bits[40]; float numbers[40]; } KDPINN_MODEL_GOLDEN_EVAL = {{
    0x3e3afd6au, 0x3ef4a321u, 0xbe6005e9u, 0xbd9c77c6u, 0xbe24b1b2u, 0x3e7147c1u, 0x3e452626u, 0x3e3f52f1u,
    0xbda2a3e6u, 0x3e842aebu, 0x3ee54d46u, 0xbd6d9588u, 0x3dff1ba4u, 0xbe821eecu, 0xbd870bd4u, 0x3da853a3u,
    0x3e267d70u, 0x3e5efd52u, 0xbdea0f2eu, 0xbcb2dac0u, 0x3e3ecde4u, 0x3e282349u, 0xbd934056u, 0x3e33ac9eu,
    0x3dff9ccdu, 0x3dee6141u, 0x3e2ab642u, 0x3ec55c99u, 0xbd366e89u, 0x3ee6f342u, 0x3eacc405u, 0x3e8378deu,
    0x3de1e924u, 0xbb238be0u, 0x3ecb6dfcu, 0xbe3cd61au, 0xbe05e854u, 0x3e241e37u, 0xbe5973ceu, 0x7fc00000u
}};

static const double KDPINN_MODEL_LOWER[2] = {
    -1.0, -1.0
};

#if DBL_MANT_DIG == 53
static const union { uint64_t bits[2]; double numbers[2]; } KDPINN_MODEL_UPPER = {{
    0x7ff0000000000000u, 0x7ff0000000000000u
}};
#else
static const union { uint32_t bits[2]; double numbers[2]; } KDPINN_MODEL_UPPER = {{
    0x7f800000u, 0x7f800000u
}};
#endif

/* The bits of x. */
static uint32_t model_bits(float x)
{
    union {
        float number;
        uint32_t bits;
    } same;
    same.number = x;
    return same.bits;
}

/* The number that has these bits. */
static float model_from_bits(uint32_t i)
{
    union {
        uint32_t bits;
        float number;
    } same;
    same.bits = i;
    return same.number;
}

/* The instruction that rounds x * y + z once, where the compiler says that the processor has it. */
#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__riscv_f)
#if !defined(__clang__)
#define KDPINN_MODEL_FMA __builtin_fmaf
#elif __has_builtin(__builtin_elementwise_fma)
#define KDPINN_MODEL_FMA __builtin_elementwise_fma
#elif defined(__NO_MATH_ERRNO__) || defined(__gnu_linux__)
#define KDPINN_MODEL_FMA __builtin_fmaf
#endif
#endif

/* x * y, rounded. Clang with -ffp-contract=fast fuses a product and a sum, whatever a pragma says; so the product is the
 * fused instruction itself, where there is one, with a -0 that the compiler cannot see.
 */
static float model_mul(float x, float y)
{
#if defined(__clang__) && defined(KDPINN_MODEL_FMA)
    union {
        uint32_t bits;
        float number;
    } zero;
    zero.bits = 0x80000000u;
    __asm__("" : "+r"(zero.bits));
    return KDPINN_MODEL_FMA(x, y, zero.number);
#else
    return x * y;
#endif
}

/* x * y + z, rounded once: by -DKDPINN_FMA=name, or the instruction, or in double. There the product is exact and the
 * sum is rounded to odd, so that rounding it again is harmless (S. Boldo, G. Melquiond, Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd, IEEE Transactions on Computers 57, 2008).
 */
#if !defined(KDPINN_FMA) && !defined(__GNUC__) && __STDC_HOSTED__
#include <math.h>
#if defined(FP_FAST_FMAF)
#define KDPINN_MODEL_FMA fmaf
#endif
#endif
#if !defined(KDPINN_FMA) && !defined(KDPINN_MODEL_FMA) && DBL_MANT_DIG != 53
#error "model.c needs a double of 64 bits where the processor has no fused multiply-add: export with --target c99-muladd"
#endif

static float model_fma(float x, float y, float z)
{
#if defined(KDPINN_FMA)
    return KDPINN_FMA(x, y, z);
#elif defined(KDPINN_MODEL_FMA)
    return KDPINN_MODEL_FMA(x, y, z);
#else
    const double product = (double)x * (double)y, addend = (double)z, sum = product + addend;
    const double part = sum - product, error = (product - (sum - part)) + (addend - part);
    union {
        double number;
        uint64_t bits;
    } odd;
    odd.number = sum;
    if ((error < 0.0 || error > 0.0) && (odd.bits & 1u) == 0u) {
        odd.bits += (error > 0.0) == (sum > 0.0) ? 1u : ~(uint64_t)0;
    }
    return (float)odd.number;
#endif
}

/* x with the sign bit of another number. */
static float model_copysign(float x, float sign)
{
    return model_from_bits((model_bits(x) & ~0x80000000u) | (model_bits(sign) & 0x80000000u));
}

/* x, with every NaN replaced by the one quiet NaN that has no sign and no payload. */
static float model_canonical(float x)
{
    return x != x ? model_from_bits(0x7fc00000u) : x;
}

/* i, which a compiler has to read at run time. */
static uint32_t model_opaque(uint32_t i)
{
    const volatile uint32_t read = i;
    return read;
}

/* The smaller of two counts. */
static int32_t model_min(int32_t a, int64_t b)
{
    return b < a ? (int32_t)b : a;
}

/* tanh |x| = (1 - e) / (1 + e), e = exp(-2|x|) = 2^k (1 + 2h), with the sign of x; both by halves.
 *
 * Numerator and denominator are each rounded once. One part of ln 2 is enough: where k is large, tanh hardly depends
 * on x.
 */
static float model_tanh(float x)
{
    float t0 = model_copysign(x, -1.0f);
    int t1 = t0 < -10.0f;
    float t2 = t1 ? -10.0f : t0;
    float t3 = model_fma(t2, 0x1.715476p+1f, 0x1.8000fep+23f);
    float t4 = t3 - 0x1.8000fep+23f;
    float t5 = model_fma(t4, -0x1.62e43p-2f, t2);
    float t6 = model_mul(t5, t5);
    float t7 = model_fma(0x1.5554b4p-1f, t5, 1.0f);
    float t8 = model_fma(0x1.122514p-3f, t5, 0x1.55548ep-2f);
    float t9 = model_fma(0x1.6d94acp-5f, t6, t8);
    float t10 = model_fma(t9, t6, t7);
    float t11 = model_fma(t6, t10, t5);
    uint32_t t12 = model_bits(t3);
    uint32_t t13 = t12 << 23u;
    float t14 = model_from_bits(t13);
    float t15 = model_fma(t14, 0.5f, -0.5f);
    float t16 = model_fma(t14, t11, t15);
    float t17 = model_fma(t14, 0.5f, 0.5f);
    float t18 = model_fma(t14, t11, t17);
    float t19 = t16 / t18;
    float t20 = model_copysign(t19, x);
    return t20;
}

/* m points, one per lane; m <= 2. */
static void model_eval_batch(const float *x, float *y, float *s, int32_t m)
{
    for (int32_t i = 0; i < m; i++) {
        s[i] = x[2 * i];
        s[2 + i] = x[1 + 2 * i];
    }
    for (int32_t i = m; i < 2; i++) {
        s[i] = 0.0f;
        s[2 + i] = 0.0f;
    }
    /* a0 = affine(x) */
    {
        float a0[2];
        a0[0] = KDPINN_MODEL_W_EVAL[8];
        a0[1] = KDPINN_MODEL_W_EVAL[8];
        float a1[2];
        a1[0] = KDPINN_MODEL_W_EVAL[9];
        a1[1] = KDPINN_MODEL_W_EVAL[9];
        float a2[2];
        a2[0] = KDPINN_MODEL_W_EVAL[10];
        a2[1] = KDPINN_MODEL_W_EVAL[10];
        float a3[2];
        a3[0] = KDPINN_MODEL_W_EVAL[11];
        a3[1] = KDPINN_MODEL_W_EVAL[11];
        for (int32_t k = 0; k < 2; k++) {
            float u[2];
            u[0] = s[2 * k];
            u[1] = s[1 + 2 * k];
            a0[0] = model_fma(KDPINN_MODEL_W_EVAL[4 * k], u[0], a0[0]);
            a0[1] = model_fma(KDPINN_MODEL_W_EVAL[4 * k], u[1], a0[1]);
            a1[0] = model_fma(KDPINN_MODEL_W_EVAL[1 + 4 * k], u[0], a1[0]);
            a1[1] = model_fma(KDPINN_MODEL_W_EVAL[1 + 4 * k], u[1], a1[1]);
            a2[0] = model_fma(KDPINN_MODEL_W_EVAL[2 + 4 * k], u[0], a2[0]);
            a2[1] = model_fma(KDPINN_MODEL_W_EVAL[2 + 4 * k], u[1], a2[1]);
            a3[0] = model_fma(KDPINN_MODEL_W_EVAL[3 + 4 * k], u[0], a3[0]);
            a3[1] = model_fma(KDPINN_MODEL_W_EVAL[3 + 4 * k], u[1], a3[1]);
        }
        s[4] = a0[0];
        s[5] = a0[1];
        s[6] = a1[0];
        s[7] = a1[1];
        s[8] = a2[0];
        s[9] = a2[1];
        s[10] = a3[0];
        s[11] = a3[1];
    }
    /* h0 = tanh(a0) */
    for (int32_t j = 0; j < 4; j += 2) {
        s[12 + 2 * j] = model_tanh(s[4 + 2 * j]);
        s[13 + 2 * j] = model_tanh(s[5 + 2 * j]);
        s[14 + 2 * j] = model_tanh(s[6 + 2 * j]);
        s[15 + 2 * j] = model_tanh(s[7 + 2 * j]);
    }
    /* u = affine(h0) */
    {
        float a0[2];
        a0[0] = KDPINN_MODEL_W_EVAL[16];
        a0[1] = KDPINN_MODEL_W_EVAL[16];
        float b0[2];
        b0[0] = 0.0f;
        b0[1] = 0.0f;
        for (int32_t k = 0; k < 4; k += 2) {
            float u[2];
            u[0] = s[12 + 2 * k];
            u[1] = s[13 + 2 * k];
            a0[0] = model_fma(KDPINN_MODEL_W_EVAL[12 + k], u[0], a0[0]);
            a0[1] = model_fma(KDPINN_MODEL_W_EVAL[12 + k], u[1], a0[1]);
            float u_2[2];
            u_2[0] = s[14 + 2 * k];
            u_2[1] = s[15 + 2 * k];
            b0[0] = model_fma(KDPINN_MODEL_W_EVAL[13 + k], u_2[0], b0[0]);
            b0[1] = model_fma(KDPINN_MODEL_W_EVAL[13 + k], u_2[1], b0[1]);
        }
        s[0] = a0[0] + b0[0];
        s[1] = a0[1] + b0[1];
    }
    s[0] = model_canonical(s[0]);
    s[1] = model_canonical(s[1]);
    for (int32_t i = 0; i < m; i++) {
        y[i] = s[i];
    }
}

/* One point, the neurons of a layer in lanes. */
static void model_eval_single(const float *x, float *y, float *s)
{
    s[0] = x[0];
    s[1] = x[1];
    /* a0 = affine(x), h0 = tanh(a0) */
    {
        float a[4];
        a[0] = KDPINN_MODEL_W_EVAL[8];
        a[1] = KDPINN_MODEL_W_EVAL[9];
        a[2] = KDPINN_MODEL_W_EVAL[10];
        a[3] = KDPINN_MODEL_W_EVAL[11];
        for (int32_t k = 0; k < 2; k++) {
            float g[4];
            g[0] = KDPINN_MODEL_W_EVAL[4 * k];
            g[1] = KDPINN_MODEL_W_EVAL[1 + 4 * k];
            g[2] = KDPINN_MODEL_W_EVAL[2 + 4 * k];
            g[3] = KDPINN_MODEL_W_EVAL[3 + 4 * k];
            a[0] = model_fma(g[0], s[k], a[0]);
            a[1] = model_fma(g[1], s[k], a[1]);
            a[2] = model_fma(g[2], s[k], a[2]);
            a[3] = model_fma(g[3], s[k], a[3]);
        }
        s[2] = model_tanh(a[0]);
        s[3] = model_tanh(a[1]);
        s[4] = model_tanh(a[2]);
        s[5] = model_tanh(a[3]);
    }
    /* u = affine(h0) */
    {
        float a = KDPINN_MODEL_W_EVAL[16];
        float b = 0.0f;
        for (int32_t k = 0; k < 4; k += 2) {
            float g = KDPINN_MODEL_W_EVAL[12 + k];
            a = model_fma(g, s[2 + k], a);
            float g_2 = KDPINN_MODEL_W_EVAL[13 + k];
            b = model_fma(g_2, s[3 + k], b);
        }
        s[0] = a + b;
    }
    y[0] = model_canonical(s[0]);
}

/* y[i] = eval(x[i]) for n points: 0, or an error code of kdpinn_edge.h. */
int32_t model_eval(const float *x, float *y, int64_t n)
{
    float s[20];
    if (n < 0) {
        return -2;
    }
    if ((0 < n) && ((x == NULL) || (y == NULL))) {
        return -1;
    }
    for (int64_t p = 0; p < n; p += 2) {
        int32_t m = model_min(2, n - p);
        if (1 < m) {
            model_eval_batch(x + 2 * p, y + p, s, m);
        } else {
            for (int32_t i = 0; i < m; i++) {
                model_eval_single(x + 2 * p + 2 * i, y + p + i, s);
            }
        }
    }
    return 0;
}

/* How many of n points lie outside the domain box (a point with a NaN does); or an error code of kdpinn_edge.h. */
int64_t model_outside(const float *x, int64_t n)
{
    if (n < 0) {
        return -2;
    }
    if ((0 < n) && (x == NULL)) {
        return -1;
    }
    int64_t count = 0;
    for (int64_t p = 0; p < n; p++) {
        int inside = 1;
        for (int32_t c = 0; c < 2; c++) {
            float v = x[2 * p + c];
            inside = inside && ((KDPINN_MODEL_BOX[c] <= v) && (v <= KDPINN_MODEL_BOX[2 + c]));
        }
        if (!inside) {
            count = count + 1;
        }
    }
    return count;
}

/* 0, or the first golden number whose bits differ, counted from 1 through the functions in order; a code < 0 of
 * kdpinn_edge.h where the floating-point environment is not the default one.
 */
int32_t model_selftest(void)
{
    float y[40];
    if (!(model_bits(model_from_bits(model_opaque(0x3f800000u)) + model_from_bits(model_opaque(0x33800000u))) == 0x3f800000u)) {
        return -4;
    }
    if (!(model_bits(model_from_bits(model_opaque(0x3f800001u)) + model_from_bits(model_opaque(0x33800000u))) == 0x3f800002u)) {
        return -4;
    }
    if (!(model_bits(model_mul(model_from_bits(model_opaque(0x800000u)), model_from_bits(model_opaque(0x3f000000u)))) == 0x400000u)) {
        return -4;
    }
    if (!(model_bits(model_mul(model_from_bits(model_opaque(0x400000u)), model_from_bits(model_opaque(0x40000000u)))) == 0x800000u)) {
        return -4;
    }
    (void)model_eval(KDPINN_MODEL_GOLDEN_X.numbers, y, 40);
    for (int32_t i = 0; i < 40; i++) {
        if (!(model_bits(y[i]) == model_bits(KDPINN_MODEL_GOLDEN_EVAL.numbers[i]))) {
            return 1 + i;
        }
        y[i] = 0.0f;
    }
    for (int32_t p = 0; p < 40; p++) {
        (void)model_eval(KDPINN_MODEL_GOLDEN_X.numbers + 2 * p, y + p, 1);
    }
    for (int32_t i = 0; i < 40; i++) {
        if (!(model_bits(y[i]) == model_bits(KDPINN_MODEL_GOLDEN_EVAL.numbers[i]))) {
            return 1 + i;
        }
        y[i] = 0.0f;
    }
    return 0;
}

/* The CRC-32 of zlib, continued over a number of so many bits, the lowest first. */
static uint32_t model_crc(uint32_t crc, uint64_t number, int32_t bits)
{
    for (int32_t i = 0; i < bits; i++) {
        crc = (crc >> 1) ^ (((crc ^ (uint32_t)(number >> i)) & 1u) * 0xedb88320u);
    }
    return crc;
}

/* 0 if the constants are those that were exported, else 1. */
int32_t model_integrity(void)
{
    uint32_t crc = 0xffffffffu;
    for (int32_t i = 0; i < 17; i++) {
        crc = model_crc(crc, model_bits(((const volatile float *)KDPINN_MODEL_W_EVAL)[i]), 32);
    }
    for (int32_t i = 0; i < 4; i++) {
        crc = model_crc(crc, model_bits(((const volatile float *)KDPINN_MODEL_BOX)[i]), 32);
    }
    return ~crc != 0x243df414u;
}

static const char *const KDPINN_MODEL_INPUT_NAMES[] = {"x0", "x1"};

static const char *const KDPINN_MODEL_EVAL_NAMES[] = {"u"};

static const kdpinn_function KDPINN_MODEL_FUNCTIONS[] = {
    {
        .name = "eval",
        .program_sha256 = "b060cd0949d64d005fa407aeb0343f907c0768d25a13bea98019bc097bc27b1c",
        .output_names = KDPINN_MODEL_EVAL_NAMES,
        .f32 = model_eval,
        .n_out = 1,
    },
};

const kdpinn_model *model_model(void)
{
    static const kdpinn_model model = {
        .abi = KDPINN_ABI,
        .scalar_bytes = sizeof(float),
        .n_in = 2,
        .n_functions = sizeof KDPINN_MODEL_FUNCTIONS / sizeof KDPINN_MODEL_FUNCTIONS[0],
        .name = "model",
        .profile = "fma-2",
        .target = "c99",
        .input_names = KDPINN_MODEL_INPUT_NAMES,
        .lower = KDPINN_MODEL_LOWER,
        .upper = KDPINN_MODEL_UPPER.numbers,
        .functions = KDPINN_MODEL_FUNCTIONS,
        .outside_f32 = model_outside,
        .selftest = model_selftest,
        .integrity = model_integrity,
        .statement_sha256 = "",
    };
    return &model;
}

#if defined(__clang__)
#pragma clang attribute pop
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
