@word bits@
/* The bits of x. */
static @bits@ @name@_bits(@real@ x)
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
static @real@ @name@_from_bits(@bits@ i)
{
    union {
        @bits@ bits;
        @real@ number;
    } same;
    same.bits = i;
    return same.number;
}

@word instruction@
/* The instruction that rounds x * y + z once, where the compiler says that the processor has it. */
#if @has_fma@
#if !defined(__clang__)
#define @ARRAY@FMA @builtin_fma@
#elif __has_builtin(__builtin_elementwise_fma)
#define @ARRAY@FMA __builtin_elementwise_fma
#elif defined(__NO_MATH_ERRNO__) || defined(__gnu_linux__)
#define @ARRAY@FMA @builtin_fma@
#endif
#endif

@word mul@
/* x * y, rounded. Clang with -ffp-contract=fast fuses a product and a sum, whatever a pragma says; so the product is the
 * fused instruction itself, where there is one, with a -0 that the compiler cannot see.
 */
static @real@ @name@_mul(@real@ x, @real@ y)
{
#if defined(__clang__) && defined(@ARRAY@FMA)
    union {
        @bits@ bits;
        @real@ number;
    } zero;
    zero.bits = @sign@;
    __asm__("" : "+r"(zero.bits));
    return @ARRAY@FMA(x, y, zero.number);
#else
    return x * y;
#endif
}

@word fma float@
/* x * y + z, rounded once: by -DKDPINN_FMA=name, or the instruction, or in double. There the product is exact and the
 * sum is rounded to odd, so that rounding it again is harmless (S. Boldo, G. Melquiond, Emulation of FMA and correctly
 * rounded sums: proved algorithms using rounding to odd, IEEE Transactions on Computers 57, 2008).
 */
#if !defined(KDPINN_FMA) && !defined(__GNUC__) && __STDC_HOSTED__
#include <math.h>
#if defined(FP_FAST_FMAF)
#define @ARRAY@FMA fmaf
#endif
#endif
#if !defined(KDPINN_FMA) && !defined(@ARRAY@FMA) && DBL_MANT_DIG != 53
#error "@name@.c needs a double of 64 bits where the processor has no fused multiply-add: export with --target c99-muladd"
#endif

static float @name@_fma(float x, float y, float z)
{
#if defined(KDPINN_FMA)
    return KDPINN_FMA(x, y, z);
#elif defined(@ARRAY@FMA)
    return @ARRAY@FMA(x, y, z);
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
/* x * y + z, rounded once: by -DKDPINN_FMA=name, or the instruction, or fma of the C library. */
#if !defined(KDPINN_FMA) && !defined(__GNUC__)
#include <math.h>
#endif

static double @name@_fma(double x, double y, double z)
{
#if defined(KDPINN_FMA)
    return KDPINN_FMA(x, y, z);
#elif defined(@ARRAY@FMA)
    return @ARRAY@FMA(x, y, z);
#elif defined(__GNUC__)
    return __builtin_fma(x, y, z);
#else
    return fma(x, y, z);
#endif
}

@word fma muladd@
/* x * y + z, rounded twice. */
static @real@ @name@_fma(@real@ x, @real@ y, @real@ z)
{
    return @name@_mul(x, y) + z;
}

@word half@
/* A number of 16 bits, which is not NaN or infinite. */
static float @name@_half(uint16_t i)
{
    const uint32_t magnitude = (uint32_t)(i & 0x7fffu) << 13, sign = (uint32_t)(i & 0x8000u) << 16;
    return @name@_from_bits(sign | magnitude) * 0x1p+112f;
}

@word absolute@
/* |x|: the sign bit cleared. */
static @real@ @name@_absolute(@real@ x)
{
    return @name@_from_bits(@name@_bits(x) & ~@sign@);
}

@word copysign@
/* x with the sign bit of another number. */
static @real@ @name@_copysign(@real@ x, @real@ sign)
{
    return @name@_from_bits((@name@_bits(x) & ~@sign@) | (@name@_bits(sign) & @sign@));
}

@word canonical@
/* x, with every NaN replaced by the one quiet NaN that has no sign and no payload. */
static @real@ @name@_canonical(@real@ x)
{
    return x != x ? @name@_from_bits(@nan@) : x;
}

@word ishr@
/* i shifted right by n bits, the sign bit kept. */
static @bits@ @name@_ishr(@bits@ i, @bits@ n)
{
    const @bits@ sign = 0u - (i >> @top@);
    return ((i ^ sign) >> n) ^ sign;
}

@word mulh@
/* The upper word of the product of two words with signs. */
static uint32_t @name@_mulh(uint32_t a, uint32_t b)
{
    union {
        uint32_t bits;
        int32_t number;
    } x, y;
    x.bits = a;
    y.bits = b;
    return (uint32_t)((uint64_t)((int64_t)x.number * y.number) >> 32);
}

@word opaque@
/* i, which a compiler has to read at run time. */
static @bits@ @name@_opaque(@bits@ i)
{
    const volatile @bits@ read = i;
    return read;
}

@word min@
/* The smaller of two counts. */
static int32_t @name@_min(int32_t a, int64_t b)
{
    return b < a ? (int32_t)b : a;
}

@word integer@
/* The integer with a sign that has these bits. */
static int32_t @name@_integer(uint32_t i)
{
    union {
        uint32_t bits;
        int32_t number;
    } same;
    same.bits = i;
    return same.number;
}
