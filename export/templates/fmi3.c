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

#if defined(FMI3_FUNCTION_PREFIX) && !defined(FMI3_OVERRIDE_FUNCTION_PREFIX)
#define JOINED(prefix, name) prefix##name
#define FULL(prefix, name) JOINED(prefix, name)
#define NAMED(name) FULL(FMI3_FUNCTION_PREFIX, name)
#else
#define NAMED(name) name
#endif
#if defined(FMI3_Export)
#define EXPORTED FMI3_Export
#elif defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

static const int32_t SIZES[TIME + 1] = {@sizes@}; /* numbers of the variable of each value reference; 0: there is none */

/* Begin a function: `m` is the instance, which must be in one of `modes`. */
#define CALLED(modes)                               \
    Instance *m = called(instance, __func__, modes); \
    if (m == NULL) {                                \
        return fmi3Error;                           \
    }

/* A function that only moves the instance from one of `modes` to `mode`. */
#define MOVES(name, modes, mode_after)                \
    EXPORTED fmi3Status NAMED(name)(fmi3Instance instance) \
    {                                                 \
        CALLED(modes)                                 \
        m->now.mode = mode_after;                     \
        return fmi3OK;                                \
    }

static void report(const Instance *m, const char *message)
{
    if (m->logger != NULL) {
        m->logger(m->environment, fmi3Error, "logStatusError", message);
    }
}

static fmi3Status status(int done)
{
    return done ? fmi3OK : fmi3Error;
}

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

EXPORTED const char *NAMED(fmi3GetVersion)(void)
{
    return "3.0";
}

EXPORTED fmi3Status NAMED(fmi3SetDebugLogging)(fmi3Instance instance, fmi3Boolean on, size_t n,
                                               const fmi3String categories[])
{
    CALLED(ANY)
    (void)on; /* errors are always reported, and there is nothing else to say */
    return status(n == 0 || categories != NULL);
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateModelExchange)(fmi3String name, fmi3String token, fmi3String resources,
                                                          fmi3Boolean visible, fmi3Boolean logging,
                                                          fmi3InstanceEnvironment environment, Logger logger)
{
    (void)resources, (void)visible, (void)logging;
    return instantiated(__func__, name, token, 0, logger, environment);
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateCoSimulation)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging,
    fmi3Boolean event_mode, fmi3Boolean early_return, const fmi3ValueReference intermediate[], size_t n_intermediate,
    fmi3InstanceEnvironment environment, Logger logger,
    void (*update)(fmi3InstanceEnvironment, fmi3Float64, fmi3Boolean, fmi3Boolean, fmi3Boolean, fmi3Boolean,
                   fmi3Boolean *, fmi3Float64 *))
{
    (void)resources, (void)visible, (void)logging, (void)event_mode, (void)early_return;
    (void)intermediate, (void)n_intermediate, (void)update;
    return instantiated(__func__, name, token, 1, logger, environment);
}

EXPORTED fmi3Instance NAMED(fmi3InstantiateScheduledExecution)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging,
    fmi3InstanceEnvironment environment, Logger logger, void (*update)(fmi3InstanceEnvironment), void (*lock)(void),
    void (*unlock)(void))
{
    (void)name, (void)token, (void)resources, (void)visible, (void)logging, (void)update, (void)lock, (void)unlock;
    if (logger != NULL) {
        logger(environment, fmi3Error, "logStatusError",
               "fmi3InstantiateScheduledExecution: there are no clocks; expected: model exchange or co-simulation");
    }
    return NULL;
}

EXPORTED void NAMED(fmi3FreeInstance)(fmi3Instance instance)
{
    Instance *m = called(instance, __func__, ANY);
    if (m != NULL) {
        m->token = NULL;
        release(m);
    }
}

EXPORTED fmi3Status NAMED(fmi3EnterInitializationMode)(fmi3Instance instance, fmi3Boolean has_tolerance,
                                                       fmi3Float64 tolerance, fmi3Float64 start, fmi3Boolean has_stop,
                                                       fmi3Float64 stop)
{
    CALLED(INSTANTIATED)
    (void)has_tolerance, (void)tolerance, (void)has_stop, (void)stop;
    m->now.time = start;
    m->now.mode = INITIALIZATION;
    return fmi3OK;
}

MOVES(fmi3ExitInitializationMode, INITIALIZATION, m->is_co_simulation ? STEP : EVENT)
MOVES(fmi3EnterEventMode, RUNNING, EVENT)
MOVES(fmi3Terminate, RUNNING, TERMINATED)

EXPORTED fmi3Status NAMED(fmi3Reset)(fmi3Instance instance)
{
    CALLED(ANY)
    start_over(m);
    return fmi3OK;
}

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

/* A function about what this model has not: fine for none of it, an error for `n` > 0. */
#define NONE(n)                                                                                   \
    {                                                                                             \
        CALLED(ANY)                                                                               \
        return status((n) == 0 || refuse(m, __func__, "there are none; asked for:", n, ""));     \
    }
#define NONE_OF_TYPE(get_name, set_name, type)                                                                       \
    EXPORTED fmi3Status NAMED(get_name)(fmi3Instance instance, const fmi3ValueReference references[], size_t n,       \
                                        type values[], size_t n_values)                                              \
    {                                                                                                                \
        CALLED(ANY)                                                                                                  \
        (void)references, (void)values, (void)n_values;                                                              \
        return status(n == 0 || refuse(m, __func__, "variables of this type:", 0, "; expected: Float64"));           \
    }                                                                                                                \
    EXPORTED fmi3Status NAMED(set_name)(fmi3Instance instance, const fmi3ValueReference references[], size_t n,       \
                                        const type values[], size_t n_values)                                        \
    {                                                                                                                \
        CALLED(ALIVE)                                                                                                \
        (void)references, (void)values, (void)n_values;                                                              \
        return status(n == 0 || refuse(m, __func__, "variables of this type:", 0, "; expected: Float64"));           \
    }
NONE_OF_TYPE(fmi3GetFloat32, fmi3SetFloat32, fmi3Float32)
NONE_OF_TYPE(fmi3GetInt8, fmi3SetInt8, fmi3Int8)
NONE_OF_TYPE(fmi3GetUInt8, fmi3SetUInt8, fmi3UInt8)
NONE_OF_TYPE(fmi3GetInt16, fmi3SetInt16, fmi3Int16)
NONE_OF_TYPE(fmi3GetUInt16, fmi3SetUInt16, fmi3UInt16)
NONE_OF_TYPE(fmi3GetInt32, fmi3SetInt32, fmi3Int32)
NONE_OF_TYPE(fmi3GetUInt32, fmi3SetUInt32, fmi3UInt32)
NONE_OF_TYPE(fmi3GetInt64, fmi3SetInt64, fmi3Int64)
NONE_OF_TYPE(fmi3GetUInt64, fmi3SetUInt64, fmi3UInt64)
NONE_OF_TYPE(fmi3GetBoolean, fmi3SetBoolean, fmi3Boolean)
NONE_OF_TYPE(fmi3GetString, fmi3SetString, fmi3String)

#define REFERENCES fmi3Instance instance, const fmi3ValueReference references[], size_t n
EXPORTED fmi3Status NAMED(fmi3GetBinary)(REFERENCES, size_t sizes[], fmi3Binary values[], size_t n_values)
{
    (void)references, (void)sizes, (void)values, (void)n_values;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetBinary)(REFERENCES, const size_t sizes[], const fmi3Binary values[], size_t n_values)
{
    (void)references, (void)sizes, (void)values, (void)n_values;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3GetClock)(REFERENCES, fmi3Clock values[])
{
    (void)references, (void)values;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetClock)(REFERENCES, const fmi3Clock values[])
{
    (void)references, (void)values;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3GetIntervalDecimal)(REFERENCES, fmi3Float64 intervals[],
                                                  fmi3IntervalQualifier qualifiers[])
{
    (void)references, (void)intervals, (void)qualifiers;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3GetIntervalFraction)(REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[],
                                                   fmi3IntervalQualifier qualifiers[])
{
    (void)references, (void)counters, (void)resolutions, (void)qualifiers;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3GetShiftDecimal)(REFERENCES, fmi3Float64 shifts[])
{
    (void)references, (void)shifts;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3GetShiftFraction)(REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[])
{
    (void)references, (void)counters, (void)resolutions;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetIntervalDecimal)(REFERENCES, const fmi3Float64 intervals[])
{
    (void)references, (void)intervals;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetIntervalFraction)(REFERENCES, const fmi3UInt64 counters[],
                                                   const fmi3UInt64 resolutions[])
{
    (void)references, (void)counters, (void)resolutions;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetShiftDecimal)(REFERENCES, const fmi3Float64 shifts[])
{
    (void)references, (void)shifts;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3SetShiftFraction)(REFERENCES, const fmi3UInt64 counters[],
                                                const fmi3UInt64 resolutions[])
{
    (void)references, (void)counters, (void)resolutions;
    NONE(n)
}

/* Which element depends on which is not told apart: each output depends on every input. */
EXPORTED fmi3Status NAMED(fmi3GetNumberOfVariableDependencies)(fmi3Instance instance, fmi3ValueReference reference,
                                                               size_t *n)
{
    (void)reference, (void)n;
    NONE(1)
}

EXPORTED fmi3Status NAMED(fmi3GetVariableDependencies)(fmi3Instance instance, fmi3ValueReference dependent,
                                                       size_t elements_of_dependent[],
                                                       fmi3ValueReference independents[],
                                                       size_t elements_of_independents[], fmi3DependencyKind kinds[],
                                                       size_t n)
{
    (void)dependent, (void)elements_of_dependent, (void)independents, (void)elements_of_independents, (void)kinds;
    (void)n;
    NONE(1)
}

EXPORTED fmi3Status NAMED(fmi3GetFMUState)(fmi3Instance instance, fmi3FMUState *saved)
{
    CALLED(ANY)
    return status(save(m, saved));
}

EXPORTED fmi3Status NAMED(fmi3SetFMUState)(fmi3Instance instance, fmi3FMUState saved)
{
    CALLED(ANY)
    return status(restore(m, saved));
}

EXPORTED fmi3Status NAMED(fmi3FreeFMUState)(fmi3Instance instance, fmi3FMUState *saved)
{
    CALLED(ANY)
    discard(saved);
    return fmi3OK;
}

EXPORTED fmi3Status NAMED(fmi3SerializedFMUStateSize)(fmi3Instance instance, fmi3FMUState saved, size_t *size)
{
    CALLED(ANY)
    return status(serialized_size(saved, size));
}

EXPORTED fmi3Status NAMED(fmi3SerializeFMUState)(fmi3Instance instance, fmi3FMUState saved, fmi3Byte bytes[],
                                                 size_t size)
{
    CALLED(ANY)
    return status(serialize(saved, bytes, size));
}

EXPORTED fmi3Status NAMED(fmi3DeserializeFMUState)(fmi3Instance instance, const fmi3Byte bytes[], size_t size,
                                                   fmi3FMUState *saved)
{
    CALLED(ANY)
    return status(deserialize(bytes, size, saved));
}

/* There are no structural parameters to configure. */
EXPORTED fmi3Status NAMED(fmi3EnterConfigurationMode)(fmi3Instance instance)
{
    NONE(1)
}

EXPORTED fmi3Status NAMED(fmi3ExitConfigurationMode)(fmi3Instance instance)
{
    NONE(1)
}

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

/* Model exchange: no states. */

MOVES(fmi3EnterContinuousTimeMode, EVENT, CONTINUOUS)

EXPORTED fmi3Status NAMED(fmi3CompletedIntegratorStep)(fmi3Instance instance, fmi3Boolean no_set_state,
                                                       fmi3Boolean *enter_event_mode, fmi3Boolean *terminate)
{
    CALLED(CONTINUOUS)
    (void)no_set_state;
    if (enter_event_mode == NULL || terminate == NULL) {
        return fmi3Error;
    }
    *enter_event_mode = *terminate = false;
    return fmi3OK;
}

EXPORTED fmi3Status NAMED(fmi3SetTime)(fmi3Instance instance, fmi3Float64 time)
{
    CALLED(EVENT | CONTINUOUS)
    m->now.time = time;
    return fmi3OK;
}

#define NO_STATES(name, type)                                                       \
    EXPORTED fmi3Status NAMED(name)(fmi3Instance instance, type values[], size_t n) \
    {                                                                               \
        (void)values;                                                               \
        NONE(n)                                                                     \
    }
NO_STATES(fmi3SetContinuousStates, const fmi3Float64)
NO_STATES(fmi3GetContinuousStateDerivatives, fmi3Float64)
NO_STATES(fmi3GetEventIndicators, fmi3Float64)
NO_STATES(fmi3GetContinuousStates, fmi3Float64)
NO_STATES(fmi3GetNominalsOfContinuousStates, fmi3Float64)

#define HOW_MANY(name)                                                        \
    EXPORTED fmi3Status NAMED(name)(fmi3Instance instance, size_t *n)         \
    {                                                                         \
        CALLED(ANY)                                                           \
        if (n == NULL) {                                                      \
            return status(refuse(m, __func__, "a pointer is NULL for", 1, " number")); \
        }                                                                     \
        *n = 0;                                                               \
        return fmi3OK;                                                        \
    }
HOW_MANY(fmi3GetNumberOfEventIndicators)
HOW_MANY(fmi3GetNumberOfContinuousStates)

/* Co-simulation: a step moves time, and the outputs are those of the inputs. */

MOVES(fmi3EnterStepMode, EVENT | STEP, STEP)

EXPORTED fmi3Status NAMED(fmi3GetOutputDerivatives)(REFERENCES, const fmi3Int32 orders[], fmi3Float64 values[],
                                                    size_t n_values)
{
    (void)references, (void)orders, (void)values, (void)n_values;
    NONE(n)
}

EXPORTED fmi3Status NAMED(fmi3DoStep)(fmi3Instance instance, fmi3Float64 now, fmi3Float64 step,
                                      fmi3Boolean no_set_state, fmi3Boolean *event, fmi3Boolean *terminate,
                                      fmi3Boolean *early_return, fmi3Float64 *last_time)
{
    CALLED(STEP)
    (void)no_set_state;
    if (event == NULL || terminate == NULL || early_return == NULL || last_time == NULL) {
        return fmi3Error;
    }
    *event = *terminate = *early_return = false;
    *last_time = m->now.time = now + step;
    return fmi3OK;
}

/* Scheduled execution: there are no clocks. */
EXPORTED fmi3Status NAMED(fmi3ActivateModelPartition)(fmi3Instance instance, fmi3ValueReference clock,
                                                      fmi3Float64 time)
{
    (void)clock, (void)time;
    NONE(1)
}
