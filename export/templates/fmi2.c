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

static void report(const Instance *m, const char *message)
{
    if (m->logger != NULL) {
        m->logger(m->environment, m->name, fmi2Error, "logStatusError", message);
    }
}

@common@
EXPORTED const char *NAMED(fmi2GetTypesPlatform)(void)
{
    return "default";
}

EXPORTED fmi2Component NAMED(fmi2Instantiate)(fmi2String name, fmi2Type type, fmi2String guid, fmi2String resources,
                                              const fmi2CallbackFunctions *callbacks, fmi2Boolean visible,
                                              fmi2Boolean logging)
{
    const Logger logger = callbacks != NULL ? callbacks->logger : NULL;
    void *environment = callbacks != NULL ? callbacks->componentEnvironment : NULL;
    return instantiated(__func__, name, guid, type == fmi2CoSimulation, logger, environment);
}

EXPORTED fmi2Status NAMED(fmi2SetupExperiment)(fmi2Component instance, fmi2Boolean has_tolerance, fmi2Real tolerance,
                                               fmi2Real start, fmi2Boolean has_stop, fmi2Real stop)
{
    CALLED(INSTANTIATED)
    m->now.time = start;
    return fmi2OK;
}

MOVES(fmi2EnterInitializationMode, INSTANTIATED, INITIALIZATION)
MOVES(fmi2EnterEventMode, EVENT | CONTINUOUS, EVENT)

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

NONE_OF_TYPE(Integer)
NONE_OF_TYPE(Boolean)
NONE_OF_TYPE(String)

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

/* Co-simulation: a step moves time, and the outputs are those of the inputs. */

EXPORTED fmi2Status NAMED(fmi2DoStep)(fmi2Component instance, fmi2Real now, fmi2Real step, fmi2Boolean no_set_state)
{
    CALLED(STEP)
    m->now.time = now + step;
    return fmi2OK;
}

EXPORTED fmi2Status NAMED(fmi2CancelStep)(fmi2Component instance)
{
    CALLED(STEP)
    return status(refuse(m, __func__, "steps that go on:", 0, "; expected: a step that fmi2DoStep has not finished"));
}

NONE(fmi2SetRealInputDerivatives, ALIVE, n, ": inputs are not interpolated", REFERENCES, const fmi2Integer orders[],
     const fmi2Real values[])
NONE(fmi2GetRealOutputDerivatives, ANY, n, ": outputs have no derivatives by time", REFERENCES,
     const fmi2Integer orders[], fmi2Real values[])

/* What else can be asked is about steps that go on while the importer does other things: there are none. */
#define ANSWERS(name, type, known, answer)                                                          \
    EXPORTED fmi2Status NAMED(name)(fmi2Component instance, const fmi2StatusKind kind, type *value) \
    {                                                                                               \
        CALLED(STEP | TERMINATED)                                                                   \
        if (value == NULL) {                                                                        \
            return fmi2Error;                                                                       \
        }                                                                                           \
        if (!(known)) {                                                                             \
            return fmi2Discard;                                                                     \
        }                                                                                           \
        *value = answer;                                                                            \
        return fmi2OK;                                                                              \
    }
ANSWERS(fmi2GetRealStatus, fmi2Real, kind == fmi2LastSuccessfulTime, m->now.time)
ANSWERS(fmi2GetBooleanStatus, fmi2Boolean, kind == fmi2Terminated, 0)
ANSWERS(fmi2GetStatus, fmi2Status, 0, fmi2OK)
ANSWERS(fmi2GetIntegerStatus, fmi2Integer, 0, 0)
ANSWERS(fmi2GetStringStatus, fmi2String, 0, NULL)
