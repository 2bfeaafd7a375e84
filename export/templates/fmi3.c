/* @name@_fmi3.c: the model @name@ through FMI 3.0.2, model exchange and co-simulation. Written by kdpinn_edge @version@.
 *
 * As it is it makes a shared library. For a program with several FMUs define FMI3_FUNCTION_PREFIX, as in @name@_.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void *fmi3Instance, *fmi3InstanceEnvironment, *fmi3FMUState;
typedef uint32_t fmi3ValueReference;
typedef float fmi3Float32;
typedef double fmi3Float64;
typedef int8_t fmi3Int8;
typedef uint8_t fmi3UInt8, fmi3Byte;
typedef int16_t fmi3Int16;
typedef uint16_t fmi3UInt16;
typedef int32_t fmi3Int32;
typedef uint32_t fmi3UInt32;
typedef int64_t fmi3Int64;
typedef uint64_t fmi3UInt64;
typedef bool fmi3Boolean, fmi3Clock;
typedef const char *fmi3String;
typedef const fmi3Byte *fmi3Binary;
typedef enum { fmi3OK, fmi3Warning, fmi3Discard, fmi3Error, fmi3Fatal } fmi3Status;
typedef int fmi3DependencyKind, fmi3IntervalQualifier;

typedef void (*Logger)(fmi3InstanceEnvironment environment, fmi3Status status, fmi3String category,
                       fmi3String message);

#include "@name@_fmu.h"

static const int32_t SIZES[TIME + 1] = {@sizes@}; /* numbers of the variable of each value reference; 0: there is none */

static void report(const Instance *m, const char *message)
{
    if (m->logger != NULL) {
        m->logger(m->environment, fmi3Error, "logStatusError", message);
    }
}

@common@
/* Whether `n` variables have `n_values` numbers in all. */
static int fit(const Instance *m, const char *function, const fmi3ValueReference references[], size_t n,
               const void *values, size_t n_values)
{
    size_t i, found = 0;
    if ((n > 0 && references == NULL) || (n_values > 0 && values == NULL)) {
        return refuse(m, function, "a pointer is NULL, beside variables:", n, "; expected: an array");
    }
    for (i = 0; i < n; i++) {
        if (references[i] > TIME || SIZES[references[i]] == 0) {
            return refuse(m, function, "value reference", references[i], " is no variable");
        }
        found += (size_t)SIZES[references[i]];
    }
    return found == n_values || refuse(m, function, "the number of values does not fit; expected:", found, "");
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateModelExchange)(fmi3String name, fmi3String token, fmi3String resources,
                                                          fmi3Boolean visible, fmi3Boolean logging,
                                                          fmi3InstanceEnvironment environment, Logger logger)
{
    return instantiated(__func__, name, token, 0, logger, environment);
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateCoSimulation)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging,
    fmi3Boolean event_mode, fmi3Boolean early_return, const fmi3ValueReference intermediate[], size_t n_intermediate,
    fmi3InstanceEnvironment environment, Logger logger,
    void (*update)(fmi3InstanceEnvironment, fmi3Float64, fmi3Boolean, fmi3Boolean, fmi3Boolean, fmi3Boolean,
                   fmi3Boolean *, fmi3Float64 *))
{
    return instantiated(__func__, name, token, 1, logger, environment);
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateScheduledExecution)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging,
    fmi3InstanceEnvironment environment, Logger logger, void (*update)(fmi3InstanceEnvironment), void (*lock)(void),
    void (*unlock)(void))
{
    if (logger != NULL) {
        logger(environment, fmi3Error, "logStatusError",
               "fmi3InstantiateScheduledExecution: there are no clocks; expected: model exchange or co-simulation");
    }
    return NULL;
}

EXPORTED fmi3Status NAMED(fmi3EnterInitializationMode)(fmi3Instance instance, fmi3Boolean has_tolerance,
                                                       fmi3Float64 tolerance, fmi3Float64 start, fmi3Boolean has_stop,
                                                       fmi3Float64 stop)
{
    CALLED(INSTANTIATED)
    m->now.time = start;
    m->now.mode = INITIALIZATION;
    return fmi3OK;
}

MOVES(fmi3EnterEventMode, RUNNING, EVENT)
MOVES(fmi3EnterStepMode, EVENT | STEP, STEP)

EXPORTED fmi3Status NAMED(fmi3GetFloat64)(fmi3Instance instance, const fmi3ValueReference references[], size_t n,
                                          fmi3Float64 values[], size_t n_values)
{
    size_t i, at = 0;
    int32_t k;
    CALLED(ANY)
    if (!fit(m, __func__, references, n, values, n_values)) {
        return fmi3Error;
    }
    for (i = 0; i < n; i++) {
        for (k = 0; k < SIZES[references[i]]; k++) {
            if (!get(m, __func__, references[i] + (uint32_t)k, &values[at++])) {
                return fmi3Error;
            }
        }
    }
    return fmi3OK;
}

EXPORTED fmi3Status NAMED(fmi3SetFloat64)(fmi3Instance instance, const fmi3ValueReference references[], size_t n,
                                          const fmi3Float64 values[], size_t n_values)
{
    size_t i, at = 0;
    int32_t k;
    CALLED(ALIVE)
    if (!fit(m, __func__, references, n, values, n_values)) {
        return fmi3Error;
    }
    for (i = 0; i < n; i++) {
        for (k = 0; k < SIZES[references[i]]; k++) {
            if (!set(m, __func__, references[i] + (uint32_t)k, values[at++])) {
                return fmi3Error;
            }
        }
    }
    return fmi3OK;
}

/* Adds, for each element of the unknowns and each of the knowns, their derivative times a number of `seed` to one of
 * `sensitivity`: those of the knowns are the seed, or with `adjoint` those of the unknowns.
 */
static fmi3Status sensitivities(Instance *m, const char *function, int adjoint, const fmi3ValueReference unknowns[],
                                size_t n_unknowns, const fmi3ValueReference knowns[], size_t n_knowns,
                                const fmi3Float64 seed[], size_t n_seed, fmi3Float64 sensitivity[],
                                size_t n_sensitivity)
{
    size_t i, k, from, to = 0;
    int32_t a, b;
    double slope = 0;
    if (!fit(m, function, adjoint ? knowns : unknowns, adjoint ? n_knowns : n_unknowns, sensitivity, n_sensitivity) ||
        !fit(m, function, adjoint ? unknowns : knowns, adjoint ? n_unknowns : n_knowns, seed, n_seed)) {
        return fmi3Error;
    }
    for (i = 0; i < n_sensitivity; i++) {
        sensitivity[i] = 0;
    }
    for (i = 0; i < n_unknowns; i++) {
        for (a = 0; a < SIZES[unknowns[i]]; a++, to++) {
            for (k = 0, from = 0; k < n_knowns; k++) {
                for (b = 0; b < SIZES[knowns[k]]; b++, from++) {
                    if (!derivative(m, function, unknowns[i] + (uint32_t)a, knowns[k] + (uint32_t)b, &slope)) {
                        return fmi3Error;
                    }
                    if (adjoint) {
                        sensitivity[from] += slope * seed[to];
                    } else {
                        sensitivity[to] += slope * seed[from];
                    }
                }
            }
        }
    }
    return fmi3OK;
}

#define SENSITIVITIES(name, adjoint)                                                                                   \
    EXPORTED fmi3Status NAMED(name)(fmi3Instance instance, const fmi3ValueReference unknowns[], size_t n_unknowns,     \
                                    const fmi3ValueReference knowns[], size_t n_knowns, const fmi3Float64 seed[],      \
                                    size_t n_seed, fmi3Float64 sensitivity[], size_t n_sensitivity)                    \
    {                                                                                                                  \
        CALLED(INITIALIZATION | RUNNING)                                                                               \
        return sensitivities(m, __func__, adjoint, unknowns, n_unknowns, knowns, n_knowns, seed, n_seed, sensitivity, \
                             n_sensitivity);                                                                           \
    }
SENSITIVITIES(fmi3GetDirectionalDerivative, 0)
SENSITIVITIES(fmi3GetAdjointDerivative, 1)

NONE_OF_TYPE(Float32)
NONE_OF_TYPE(Int8)
NONE_OF_TYPE(UInt8)
NONE_OF_TYPE(Int16)
NONE_OF_TYPE(UInt16)
NONE_OF_TYPE(Int32)
NONE_OF_TYPE(UInt32)
NONE_OF_TYPE(Int64)
NONE_OF_TYPE(UInt64)
NONE_OF_TYPE(Boolean)
NONE_OF_TYPE(String)
NONE(fmi3GetBinary, ANY, n, "", REFERENCES, size_t sizes[], fmi3Binary values[], size_t n_values)
NONE(fmi3SetBinary, ANY, n, "", REFERENCES, const size_t sizes[], const fmi3Binary values[], size_t n_values)
NONE(fmi3GetClock, ANY, n, "", REFERENCES, fmi3Clock values[])
NONE(fmi3SetClock, ANY, n, "", REFERENCES, const fmi3Clock values[])
NONE(fmi3GetIntervalDecimal, ANY, n, "", REFERENCES, fmi3Float64 intervals[], fmi3IntervalQualifier qualifiers[])
NONE(fmi3GetIntervalFraction, ANY, n, "", REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[],
     fmi3IntervalQualifier qualifiers[])
NONE(fmi3GetShiftDecimal, ANY, n, "", REFERENCES, fmi3Float64 shifts[])
NONE(fmi3GetShiftFraction, ANY, n, "", REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[])
NONE(fmi3SetIntervalDecimal, ANY, n, "", REFERENCES, const fmi3Float64 intervals[])
NONE(fmi3SetIntervalFraction, ANY, n, "", REFERENCES, const fmi3UInt64 counters[], const fmi3UInt64 resolutions[])
NONE(fmi3SetShiftDecimal, ANY, n, "", REFERENCES, const fmi3Float64 shifts[])
NONE(fmi3SetShiftFraction, ANY, n, "", REFERENCES, const fmi3UInt64 counters[], const fmi3UInt64 resolutions[])
NONE(fmi3GetOutputDerivatives, ANY, n, "", REFERENCES, const fmi3Int32 orders[], fmi3Float64 values[], size_t n_values)

/* Which element depends on which is not told apart: each output depends on every input. */
NONE(fmi3GetNumberOfVariableDependencies, ANY, 1, "", fmi3Instance instance, fmi3ValueReference reference, size_t *n)
NONE(fmi3GetVariableDependencies, ANY, 1, "", fmi3Instance instance, fmi3ValueReference dependent,
     size_t elements_of_dependent[], fmi3ValueReference independents[], size_t elements_of_independents[],
     fmi3DependencyKind kinds[], size_t n)

/* There are no structural parameters to configure, and no clocks of a scheduled execution. */
NONE(fmi3EnterConfigurationMode, ANY, 1, "", fmi3Instance instance)
NONE(fmi3ExitConfigurationMode, ANY, 1, "", fmi3Instance instance)
NONE(fmi3ActivateModelPartition, ANY, 1, "", fmi3Instance instance, fmi3ValueReference clock, fmi3Float64 time)

/* Events: there are none. */

EXPORTED fmi3Status NAMED(fmi3EvaluateDiscreteStates)(fmi3Instance instance)
{
    CALLED(INITIALIZATION | EVENT)
    return fmi3OK;
}

EXPORTED fmi3Status NAMED(fmi3UpdateDiscreteStates)(fmi3Instance instance, fmi3Boolean *again, fmi3Boolean *terminate,
                                                    fmi3Boolean *nominals_changed, fmi3Boolean *states_changed,
                                                    fmi3Boolean *has_next_event, fmi3Float64 *next_event)
{
    CALLED(EVENT)
    if (again == NULL || terminate == NULL || nominals_changed == NULL || states_changed == NULL ||
        has_next_event == NULL || next_event == NULL) {
        return fmi3Error;
    }
    *again = *terminate = *nominals_changed = *states_changed = *has_next_event = false;
    *next_event = 0;
    return fmi3OK;
}

#define HOW_MANY(name)                                                                 \
    EXPORTED fmi3Status NAMED(name)(fmi3Instance instance, size_t *n)                  \
    {                                                                                  \
        CALLED(ANY)                                                                    \
        if (n == NULL) {                                                               \
            return status(refuse(m, __func__, "a pointer is NULL for", 1, " number")); \
        }                                                                              \
        *n = 0;                                                                        \
        return fmi3OK;                                                                 \
    }
HOW_MANY(fmi3GetNumberOfEventIndicators)
HOW_MANY(fmi3GetNumberOfContinuousStates)

/* Co-simulation: a step moves time, and the outputs are those of the inputs. */

EXPORTED fmi3Status NAMED(fmi3DoStep)(fmi3Instance instance, fmi3Float64 now, fmi3Float64 step,
                                      fmi3Boolean no_set_state, fmi3Boolean *event, fmi3Boolean *terminate,
                                      fmi3Boolean *early_return, fmi3Float64 *last_time)
{
    CALLED(STEP)
    if (event == NULL || terminate == NULL || early_return == NULL || last_time == NULL) {
        return fmi3Error;
    }
    *event = *terminate = *early_return = false;
    *last_time = m->now.time = now + step;
    return fmi3OK;
}
