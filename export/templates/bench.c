/* @name@_bench.c: the self-test of @name@ and the time of its functions, on the device, printed as one JSON document:
 * `kdpinn-edge bench BUNDLE --add FILE` takes it. Written by kdpinn_edge @version@ for @target@.
 *
 * It needs no C library. What it asks of the machine, a clock, output and an end, is in the first half, to be replaced
 * for another one.
 */
#include <stdint.h>

#include "@name@.h"

static int32_t bench(void);

/* ---- the machine ---- */

@machine@
/* ---- the measurement ---- */

enum {
    N_DISTINCT = @n_points@,
    MOST_OUT = @most_out@,
    OVER_CLOCK = 100, /* a sample lasts at least so many steps of the clock: it is a mean of as many calls as that takes */
    LEAST_SAMPLES = 3,
    MOST_BATCH = 1 << 24
};

static const @scalar@ POINTS[N_DISTINCT * @NAME@_N_IN] = {
@points@
};

static @scalar@ x[MOST_POINTS * @NAME@_N_IN], y[MOST_POINTS * MOST_OUT];
static uint64_t samples[MOST_SAMPLES];

static void write_number(uint64_t value)
{
    char text[21], *digit = text + sizeof text;

    *--digit = '\0';
    do { /* long division by 10, bit by bit: a 32-bit machine has no other without a library */
        uint64_t rest = 0;
        int32_t bit;

        for (bit = 0; bit < 64; bit++) {
            rest = rest << 1 | value >> 63;
            value <<= 1;
            if (rest >= 10) {
                rest -= 10;
                value |= 1;
            }
        }
        *--digit = (char)('0' + (int32_t)rest);
    } while (value != 0);
    write_text(digit);
}

static void write_code(int32_t code)
{
    if (code < 0) {
        write_text("-");
    }
    write_number(code < 0 ? 0u - (uint32_t)code : (uint32_t)code);
}

static void write_string(const char *text)
{
    write_text("\"");
    write_text(text);
    write_text("\"");
}

/* CRC-32 as in zlib. */
static uint32_t crc32(const void *data, uint32_t size)
{
    const uint8_t *byte = data;
    uint32_t crc = ~0u, i, bit;

    for (i = 0; i < size; i++) {
        crc ^= byte[i];
        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

/* The least step that two readings show: what the clock resolves, or what reading it takes. */
static uint64_t resolution(void)
{
    uint64_t least = UINT64_MAX;
    int32_t i;

    for (i = 0; i < 64; i++) {
        const uint64_t begin = clock_ticks();
        uint64_t end;

        do {
            end = clock_ticks();
        } while (end == begin);
        least = end - begin < least ? end - begin : least;
    }
    return least;
}

static uint64_t ticks(int32_t (*function)(const @scalar@ *, @scalar@ *, int64_t), int32_t n, int32_t batch)
{
    const uint64_t begin = clock_ticks();
    int32_t i;

    for (i = 0; i < batch; i++) {
        function(x, y, n);
    }
    return clock_ticks() - begin;
}

static int32_t row(int32_t (*function)(const @scalar@ *, @scalar@ *, int64_t), int32_t n, int32_t n_out, uint64_t step)
{
    const int32_t status = function(x, y, n);
    int32_t batch = 1, count, i;
    uint64_t spent = 0;

    write_text("{\"n\": ");
    write_number((uint32_t)n);
    write_text(", \"status\": ");
    write_code(status);
    if (status == KDPINN_OK) {
        write_text(", \"crc32\": ");
        write_number(crc32(y, (uint32_t)(n * n_out) * (uint32_t)sizeof *y));
        while (batch < MOST_BATCH && ticks(function, n, batch) < OVER_CLOCK * step) {
            batch *= 2;
        }
        for (count = 0; count < MOST_SAMPLES && (count < LEAST_SAMPLES || spent < MOST_TICKS); count++) {
            samples[count] = ticks(function, n, batch);
            spent += samples[count];
        }
        write_text(", \"batch\": ");
        write_number((uint32_t)batch);
        write_text(", \"ticks\": [");
        for (i = 0; i < count; i++) {
            write_text(i == 0 ? "" : ", ");
            write_number(samples[i]);
        }
        write_text("]");
    }
    write_text("}");
    return status;
}

/* Print the document. 0 where the self-test passed and every call succeeded. */
static int32_t bench(void)
{
    const kdpinn_model *model = @name@_model();
    const int32_t selftest = @name@_selftest();
    const uint64_t step = resolution();
    int32_t faults = selftest != 0, i, k;

    for (i = 0; i < MOST_POINTS; i++) {
        for (k = 0; k < @NAME@_N_IN; k++) {
            x[i * @NAME@_N_IN + k] = i < N_DISTINCT ? POINTS[i * @NAME@_N_IN + k] : x[(i - N_DISTINCT) * @NAME@_N_IN + k];
        }
    }
    write_text("{\"schema\": @schema@, \"name\": ");
    write_string(model->name);
    write_text(", \"precision\": \"@precision@\", \"profile\": ");
    write_string(model->profile);
    write_text(", \"target\": ");
    write_string(model->target);
    write_text(",\n \"points_crc32\": ");
    write_number(crc32(POINTS, (uint32_t)sizeof POINTS));
    write_text(", \"selftest\": ");
    write_code(selftest);
    write_text(",\n \"clock\": {\"source\": \"" CLOCK_SOURCE "\", \"unit\": \"" CLOCK_UNIT "\", \"resolution\": ");
    write_number(step);
    write_text(", \"per_second\": ");
    write_number(CLOCK_PER_SECOND);
    write_text("},\n \"functions\": [");
@each function@
    write_text(@index@ ? ",\n  {\"name\": \"@function@\"" : "\n  {\"name\": \"@function@\"");
    write_text(", \"program_sha256\": ");
    write_string(model->functions[@index@].program_sha256);
    write_text(", \"rows\": [");
    for (i = 0; i < (int32_t)(sizeof N_POINTS / sizeof *N_POINTS); i++) {
        write_text(i == 0 ? "\n   " : ",\n   ");
        faults += row(@name@_@function@, N_POINTS[i], @NAME@_@FUNCTION@_N_OUT, step) != KDPINN_OK;
    }
    write_text("]}");
@end@
    write_text("]}\n");
    return faults != 0;
}
