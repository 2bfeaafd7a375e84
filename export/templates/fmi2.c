/* @name@_fmi2.c: the model @name@ through FMI 2.0.5, model exchange and co-simulation. Written by kdpinn_edge @version@.
 *
 * As it is it makes a shared library. For a program with several FMUs define FMI2_FUNCTION_PREFIX, as in @name@_.
 */
#include <stddef.h>

typedef double fmi2Real;
typedef int fmi2Integer, fmi2Boolean;
typedef char fmi2Char, fmi2Byte;
typedef const fmi2Char *fmi2String;
typedef unsigned int fmi2ValueReference;
typedef void *fmi2Component, *fmi2ComponentEnvironment, *fmi2FMUstate;
typedef enum { fmi2OK, fmi2Warning, fmi2Discard, fmi2Error, fmi2Fatal, fmi2Pending } fmi2Status;
typedef enum { fmi2ModelExchange, fmi2CoSimulation } fmi2Type;
typedef enum { fmi2DoStepStatus, fmi2PendingStatus, fmi2LastSuccessfulTime, fmi2Terminated } fmi2StatusKind;

typedef void (*Logger)(fmi2ComponentEnvironment environment, fmi2String instance, fmi2Status status,
                       fmi2String category, fmi2String message, ...);

typedef struct {
    Logger logger;
    void *(*allocateMemory)(size_t count, size_t size);
    void (*freeMemory)(void *block);
    void (*stepFinished)(fmi2ComponentEnvironment environment, fmi2Status status);
    fmi2ComponentEnvironment componentEnvironment;
} fmi2CallbackFunctions;

typedef struct {
    fmi2Boolean newDiscreteStatesNeeded, terminateSimulation, nominalsOfContinuousStatesChanged;
    fmi2Boolean valuesOfContinuousStatesChanged, nextEventTimeDefined;
    fmi2Real nextEventTime;
} fmi2EventInfo;

#include "@name@_fmu.h"

#if defined(FMI2_FUNCTION_PREFIX) && !defined(FMI2_OVERRIDE_FUNCTION_PREFIX)
#define JOINED(prefix, name) prefix##name
#define FULL(prefix, name) JOINED(prefix, name)
#define NAMED(name) FULL(FMI2_FUNCTION_PREFIX, name)
#else
#define NAMED(name) name
#endif
#if defined(FMI2_Export)
#define EXPORTED FMI2_Export
#elif defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

/* Begin a function: `m` is the instance, which must be in one of `modes`. */
#define CALLED(modes)                               \
    Instance *m = called(instance, __func__, modes); \
    if (m == NULL) {                                \
        return fmi2Error;                           \
    }

static void report(const Instance *m, const char *message)
{
    if (m->logger != NULL) {
        m->logger(m->environment, m->name, fmi2Error, "logStatusError", message);
    }
}

static fmi2Status status(int done)
{
    return done ? fmi2OK : fmi2Error;
}

EXPORTED const char *NAMED(fmi2GetTypesPlatform)(void)
{
    return "default";
}

EXPORTED const char *NAMED(fmi2GetVersion)(void)
{
    return "2.0";
}

EXPORTED fmi2Status NAMED(fmi2SetDebugLogging)(fmi2Component instance, fmi2Boolean on, size_t n,
                                               const fmi2String categories[])
{
    CALLED(ANY)
    (void)on; /* errors are always reported, and there is nothing else to say */
    return status(n == 0 || categories != NULL);
}

EXPORTED fmi2Component NAMED(fmi2Instantiate)(fmi2String name, fmi2Type type, fmi2String guid, fmi2String resources,
                                              const fmi2CallbackFunctions *callbacks, fmi2Boolean visible,
                                              fmi2Boolean logging)
{
    const Logger logger = callbacks != NULL ? callbacks->logger : NULL;
    void *environment = callbacks != NULL ? callbacks->componentEnvironment : NULL;
    (void)resources, (void)visible, (void)logging;
    return instantiated(__func__, name, guid, type == fmi2CoSimulation, logger, environment);
}

EXPORTED void NAMED(fmi2FreeInstance)(fmi2Component instance)
{
    Instance *m = called(instance, __func__, ANY);
    if (m != NULL) {
        m->token = NULL;
        release(m);
    }
}

EXPORTED fmi2Status NAMED(fmi2SetupExperiment)(fmi2Component instance, fmi2Boolean has_tolerance, fmi2Real tolerance,
                                               fmi2Real start, fmi2Boolean has_stop, fmi2Real stop)
{
    CALLED(INSTANTIATED)
    (void)has_tolerance, (void)tolerance, (void)has_stop, (void)stop;
    m->now.time = start;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2EnterInitializationMode)(fmi2Component instance)
{
    CALLED(INSTANTIATED)
    m->now.mode = INITIALIZATION;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2ExitInitializationMode)(fmi2Component instance)
{
    CALLED(INITIALIZATION)
    m->now.mode = m->is_co_simulation ? STEP : EVENT;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2Terminate)(fmi2Component instance)
{
    CALLED(RUNNING)
    m->now.mode = TERMINATED;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2Reset)(fmi2Component instance)
{
    CALLED(ANY)
    start_over(m);
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2GetReal)(fmi2Component instance, const fmi2ValueReference references[], size_t n,
                                       fmi2Real values[])
{
    size_t i;
    CALLED(ANY)
    for (i = 0; i < n; i++) {
        if (references == NULL || values == NULL || !get(m, __func__, references[i], &values[i])) {
            return fmi2Error;
        }
    }
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2SetReal)(fmi2Component instance, const fmi2ValueReference references[], size_t n,
                                       const fmi2Real values[])
{
    size_t i;
    CALLED(ALIVE)
    for (i = 0; i < n; i++) {
        if (references == NULL || values == NULL || !set(m, __func__, references[i], values[i])) {
            return fmi2Error;
        }
    }
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2GetDirectionalDerivative)(fmi2Component instance, const fmi2ValueReference unknowns[],
                                                        size_t n_unknowns, const fmi2ValueReference knowns[],
                                                        size_t n_knowns, const fmi2Real seed[], fmi2Real sensitivity[])
{
    size_t i, k;
    CALLED(INITIALIZATION | RUNNING)
    if ((n_unknowns > 0 && (unknowns == NULL || sensitivity == NULL)) ||
        (n_knowns > 0 && (knowns == NULL || seed == NULL))) {
        return fmi2Error;
    }
    for (i = 0; i < n_unknowns; i++) {
        sensitivity[i] = 0;
        for (k = 0; k < n_knowns; k++) {
            double slope = 0;
            if (!derivative(m, __func__, unknowns[i], knowns[k], &slope)) {
                return fmi2Error;
            }
            sensitivity[i] += slope * seed[k];
        }
    }
    return fmi2OK;
}

/* There are no variables of other types. */
#define NONE_OF_TYPE(get_name, set_name, type)                                                                  \
    EXPORTED fmi2Status NAMED(get_name)(fmi2Component instance, const fmi2ValueReference references[], size_t n, \
                                        type values[])                                                          \
    {                                                                                                           \
        CALLED(ANY)                                                                                             \
        (void)references, (void)values;                                                                         \
        return status(n == 0 || refuse(m, __func__, "variables of this type:", 0, "; expected: Real"));         \
    }                                                                                                           \
    EXPORTED fmi2Status NAMED(set_name)(fmi2Component instance, const fmi2ValueReference references[], size_t n, \
                                        const type values[])                                                    \
    {                                                                                                           \
        CALLED(ALIVE)                                                                                           \
        (void)references, (void)values;                                                                         \
        return status(n == 0 || refuse(m, __func__, "variables of this type:", 0, "; expected: Real"));         \
    }
NONE_OF_TYPE(fmi2GetInteger, fmi2SetInteger, fmi2Integer)
NONE_OF_TYPE(fmi2GetBoolean, fmi2SetBoolean, fmi2Boolean)
NONE_OF_TYPE(fmi2GetString, fmi2SetString, fmi2String)

EXPORTED fmi2Status NAMED(fmi2GetFMUstate)(fmi2Component instance, fmi2FMUstate *saved)
{
    CALLED(ANY)
    return status(save(m, saved));
}

EXPORTED fmi2Status NAMED(fmi2SetFMUstate)(fmi2Component instance, fmi2FMUstate saved)
{
    CALLED(ANY)
    return status(restore(m, saved));
}

EXPORTED fmi2Status NAMED(fmi2FreeFMUstate)(fmi2Component instance, fmi2FMUstate *saved)
{
    CALLED(ANY)
    discard(saved);
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2SerializedFMUstateSize)(fmi2Component instance, fmi2FMUstate saved, size_t *size)
{
    CALLED(ANY)
    return status(serialized_size(saved, size));
}

EXPORTED fmi2Status NAMED(fmi2SerializeFMUstate)(fmi2Component instance, fmi2FMUstate saved, fmi2Byte bytes[],
                                                 size_t size)
{
    CALLED(ANY)
    return status(serialize(saved, bytes, size));
}

EXPORTED fmi2Status NAMED(fmi2DeSerializeFMUstate)(fmi2Component instance, const fmi2Byte bytes[], size_t size,
                                                   fmi2FMUstate *saved)
{
    CALLED(ANY)
    return status(deserialize(bytes, size, saved));
}

/* Model exchange: no states, no events. */

EXPORTED fmi2Status NAMED(fmi2EnterEventMode)(fmi2Component instance)
{
    CALLED(EVENT | CONTINUOUS)
    m->now.mode = EVENT;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2NewDiscreteStates)(fmi2Component instance, fmi2EventInfo *info)
{
    static const fmi2EventInfo nothing = {0, 0, 0, 0, 0, 0};
    CALLED(EVENT)
    if (info == NULL) {
        return fmi2Error;
    }
    *info = nothing;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2EnterContinuousTimeMode)(fmi2Component instance)
{
    CALLED(EVENT)
    m->now.mode = CONTINUOUS;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2CompletedIntegratorStep)(fmi2Component instance, fmi2Boolean no_set_state,
                                                       fmi2Boolean *enter_event_mode, fmi2Boolean *terminate)
{
    CALLED(CONTINUOUS)
    (void)no_set_state;
    if (enter_event_mode == NULL || terminate == NULL) {
        return fmi2Error;
    }
    *enter_event_mode = *terminate = 0;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2SetTime)(fmi2Component instance, fmi2Real time)
{
    CALLED(EVENT | CONTINUOUS)
    m->now.time = time;
    return fmi2OK;
}

#define NO_STATES(name, modes, type)                                                                     \
    EXPORTED fmi2Status NAMED(name)(fmi2Component instance, type values[], size_t n)                      \
    {                                                                                                    \
        CALLED(modes)                                                                                    \
        (void)values;                                                                                    \
        return status(n == 0 || refuse(m, __func__, "there are none; asked for:", n, "; expected: 0")); \
    }
NO_STATES(fmi2SetContinuousStates, CONTINUOUS, const fmi2Real)
NO_STATES(fmi2GetDerivatives, ANY, fmi2Real)
NO_STATES(fmi2GetEventIndicators, ANY, fmi2Real)
NO_STATES(fmi2GetContinuousStates, ANY, fmi2Real)
NO_STATES(fmi2GetNominalsOfContinuousStates, ANY, fmi2Real)

/* Co-simulation: a step moves time, and the outputs are those of the inputs. */

EXPORTED fmi2Status NAMED(fmi2DoStep)(fmi2Component instance, fmi2Real now, fmi2Real step, fmi2Boolean no_set_state)
{
    CALLED(STEP)
    (void)no_set_state;
    m->now.time = now + step;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2CancelStep)(fmi2Component instance)
{
    CALLED(STEP)
    return status(refuse(m, __func__, "steps that go on:", 0, "; expected: a step that fmi2DoStep has not finished"));
}

EXPORTED fmi2Status NAMED(fmi2SetRealInputDerivatives)(fmi2Component instance, const fmi2ValueReference references[],
                                                       size_t n, const fmi2Integer orders[], const fmi2Real values[])
{
    CALLED(ALIVE)
    (void)references, (void)orders, (void)values;
    return status(n == 0 || refuse(m, __func__, "inputs are not interpolated; order", 1, " is above the highest, 0"));
}

EXPORTED fmi2Status NAMED(fmi2GetRealOutputDerivatives)(fmi2Component instance, const fmi2ValueReference references[],
                                                        size_t n, const fmi2Integer orders[], fmi2Real values[])
{
    CALLED(ANY)
    (void)references, (void)orders, (void)values;
    return status(n == 0 || refuse(m, __func__, "outputs have no derivatives by time; order", 1,
                                   " is above the highest, 0"));
}

EXPORTED fmi2Status NAMED(fmi2GetRealStatus)(fmi2Component instance, const fmi2StatusKind kind, fmi2Real *value)
{
    CALLED(STEP | TERMINATED)
    if (value == NULL) {
        return fmi2Error;
    }
    if (kind != fmi2LastSuccessfulTime) {
        return fmi2Discard;
    }
    *value = m->now.time;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2GetBooleanStatus)(fmi2Component instance, const fmi2StatusKind kind, fmi2Boolean *value)
{
    CALLED(STEP | TERMINATED)
    if (value == NULL) {
        return fmi2Error;
    }
    if (kind != fmi2Terminated) {
        return fmi2Discard;
    }
    *value = 0;
    return fmi2OK;
}

/* What else can be asked is about steps that go on while the importer does other things: there are none. */
#define NO_STATUS(name, type)                                                                       \
    EXPORTED fmi2Status NAMED(name)(fmi2Component instance, const fmi2StatusKind kind, type *value) \
    {                                                                                               \
        CALLED(STEP | TERMINATED)                                                                   \
        (void)kind;                                                                                 \
        return value == NULL ? fmi2Error : fmi2Discard;                                             \
    }
NO_STATUS(fmi2GetStatus, fmi2Status)
NO_STATUS(fmi2GetIntegerStatus, fmi2Integer)
NO_STATUS(fmi2GetStringStatus, fmi2String)
