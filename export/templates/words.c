@word bits@
/* The bits of x. */
static @bits@ kdpinn_bits(@real@ x)
{
    union {
        @real@ number;
        @bits@ bits;
    } same;
    same.number = x;
    return same.bits;
}

@word from_bits@
/* The number that has these bits. */
static @real@ kdpinn_from_bits(@bits@ i)
{
    union {
        @bits@ bits;
        @real@ number;
    } same;
    same.bits = i;
    return same.number;
}

@word fma float@
/* x * y + z, rounded once: by the instruction, or -DKDPINN_FMA=name, or in double. There the product is exact and the
 * sum is rounded to odd, so that rounding it again is harmless (S. Boldo, G. Melquiond, Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd, IEEE Transactions on Computers 57, 2008).
 */
#if !defined(KDPINN_FMA) && \
    (@has_fma@)
#if !defined(__clang__)
#define KDPINN_FMA __builtin_fmaf
#elif __has_builtin(__builtin_elementwise_fma)
#define KDPINN_FMA __builtin_elementwise_fma
#elif defined(__NO_MATH_ERRNO__) || defined(__gnu_linux__)
#define KDPINN_FMA __builtin_fmaf
#endif
#elif !defined(KDPINN_FMA) && !defined(__GNUC__) && __STDC_HOSTED__
#include <math.h>
#if defined(FP_FAST_FMAF)
#define KDPINN_FMA fmaf
#endif
#endif

static float kdpinn_fma(float x, float y, float z)
{
#if defined(KDPINN_FMA)
    return KDPINN_FMA(x, y, z);
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

@word fma double@
/* x * y + z, rounded once: by the instruction, or -DKDPINN_FMA=name, or by fma of the C library. */
#if !defined(KDPINN_FMA) && defined(__clang__) && (@has_fma@)
#if __has_builtin(__builtin_elementwise_fma)
#define KDPINN_FMA __builtin_elementwise_fma
#endif
#endif
#if !defined(KDPINN_FMA) && defined(__GNUC__)
#define KDPINN_FMA __builtin_fma
#elif !defined(KDPINN_FMA)
#include <math.h>
#define KDPINN_FMA fma
#endif

static double kdpinn_fma(double x, double y, double z)
{
    return KDPINN_FMA(x, y, z);
}

@word fma muladd@
/* x * y + z, rounded twice. */
static @real@ kdpinn_fma(@real@ x, @real@ y, @real@ z)
{
    return x * y + z;
}

@word half@
/* A number of 16 bits, which is not NaN or infinite. */
static float kdpinn_half(uint16_t i)
{
    const uint32_t magnitude = (uint32_t)(i & 0x7fffu) << 13, sign = (uint32_t)(i & 0x8000u) << 16;
    return kdpinn_from_bits(sign | magnitude) * 0x1p+112f;
}

@word absolute@
/* |x|: the sign bit cleared. */
static @real@ kdpinn_absolute(@real@ x)
{
    return kdpinn_from_bits(kdpinn_bits(x) & ~@sign@);
}

@word copysign@
/* x with the sign bit of another number. */
static @real@ kdpinn_copysign(@real@ x, @real@ sign)
{
    return kdpinn_from_bits((kdpinn_bits(x) & ~@sign@) | (kdpinn_bits(sign) & @sign@));
}

@word canonical@
/* x, with every NaN replaced by the one quiet NaN that has no sign and no payload. */
static @real@ kdpinn_canonical(@real@ x)
{
    return x != x ? kdpinn_from_bits(@nan@) : x;
}

@word ishr@
/* i shifted right by n bits, the sign bit kept. */
static @bits@ kdpinn_ishr(@bits@ i, @bits@ n)
{
    const @bits@ sign = 0u - (i >> @top@);
    return ((i ^ sign) >> n) ^ sign;
}

@word opaque@
/* i, which a compiler has to read at run time. */
static @bits@ kdpinn_opaque(@bits@ i)
{
    const volatile @bits@ read = i;
    return read;
}

@word min@
/* The smaller of two counts. */
static int32_t kdpinn_min(int32_t a, int64_t b)
{
    return b < a ? (int32_t)b : a;
}
