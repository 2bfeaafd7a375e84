/* An importer of FMI that makes mistakes on purpose. Arguments: the shared library, the GUID, 1 to round upwards.
 *
 * Every mistake must be answered by an error, and nothing may be read or written outside its place, which valgrind sees.
 * At last it prints the first output, whose value reference is 4, where the inputs are 0.25, 0.5, 0.125 and 0.75.
 */
#if defined(_WIN32)
#include <windows.h>
#define dlopen(path, mode) ((void *)LoadLibraryA(path))
#define dlsym(library, name) ((void *)GetProcAddress((HMODULE)(library), name))
#define dlclose(library) (!FreeLibrary((HMODULE)(library)))
#define dlerror() "LoadLibrary failed"
#else
#include <dlfcn.h>
#endif
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

enum { OK, REFUSED = 3, DISCARD = 2, MODEL_EXCHANGE = 0, CO_SIMULATION = 1 };
typedef struct {
    void (*logger)(void *, const char *, int, const char *, const char *, ...);
    void *(*allocate)(size_t, size_t);
    void (*release)(void *);
    void (*finished)(void *, int);
    void *environment;
} Callbacks;

static void *library;
static int n_messages;

static void logged(void *environment, const char *name, int status, const char *category, const char *message, ...)
{
    n_messages++;
    printf("%s %s %d %s %s\n", (char *)environment, name, status, category, message);
}

static void *found(const char *name)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        exit(fprintf(stderr, "there is no %s\n", name));
    }
    return symbol;
}

#define CALL(name, types, ...) ((int (*) types)found(name))(__VA_ARGS__)
#define EXPECT(expected, what)                                               \
    do {                                                                     \
        int got = (what);                                                    \
        if (got != (expected)) {                                             \
            fprintf(stderr, "line %d: %d instead of %d\n", __LINE__, got, expected); \
            return 1;                                                        \
        }                                                                    \
    } while (0)

typedef unsigned Reference;
typedef void *Component;
#define REAL (Component, const Reference *, size_t, double *)

#define FLOAT64 (Component, const Reference *, size_t, double *, size_t)
#define SENSITIVITY \
    (Component, const Reference *, size_t, const Reference *, size_t, const double *, size_t, double *, size_t)

static void logged3(void *environment, int status, const char *category, const char *message)
{
    printf("%s %d %s %s\n", (char *)environment, status, category, message);
}

/* The same mistakes in FMI 3.0. The second input is an array of two numbers. */
static int through_fmi3(const char *token)
{
    Component (*instantiate)(const char *, const char *, const char *, bool, bool, bool, bool, const Reference *, size_t,
                             void *, void (*)(void *, int, const char *, const char *), void *) =
        found("fmi3InstantiateCoSimulation");
    Component (*scheduled)(const char *, const char *, const char *, bool, bool, void *,
                           void (*)(void *, int, const char *, const char *), void *, void *, void *) =
        found("fmi3InstantiateScheduledExecution");
    const Reference first = 0, inside = 2, none = 100000, inputs[] = {0, 1, 3}, output = 4;
    double values[] = {0.25, 0.5, 0.125, 0.75}, v[2];
    bool event, terminate, early;
    size_t n = 7;
    if (scheduled("three", token, "", 0, 0, "environment", logged3, NULL, NULL, NULL) != NULL ||
        instantiate("three", "{another}", NULL, 0, 0, 0, 0, NULL, 0, NULL, NULL, NULL) != NULL) {
        return fprintf(stderr, "an instance that cannot be\n");
    }
    Component m = instantiate("three", token, NULL, 0, 0, 0, 0, NULL, 0, "environment", logged3, NULL);
    EXPECT(REFUSED, CALL("fmi3GetFloat64", FLOAT64, NULL, &first, 1, v, 1));
    EXPECT(REFUSED, CALL("fmi3GetFloat64", FLOAT64, m, &first, 1, v, 2));
    EXPECT(REFUSED, CALL("fmi3GetFloat64", FLOAT64, m, &inside, 1, v, 1));
    EXPECT(REFUSED, CALL("fmi3GetFloat64", FLOAT64, m, &none, 1, v, 1));
    EXPECT(REFUSED, CALL("fmi3SetFloat64", FLOAT64, m, NULL, 1, v, 1));
    EXPECT(REFUSED, CALL("fmi3SetFloat64", FLOAT64, m, inputs, 3, values, 3));
    EXPECT(REFUSED, CALL("fmi3SetFloat64", FLOAT64, m, &output, 1, values, 2));
    EXPECT(REFUSED, CALL("fmi3GetFloat32", FLOAT64, m, &first, 1, v, 1));
    EXPECT(REFUSED, CALL("fmi3GetClock", (Component, const Reference *, size_t, bool *), m, &first, 1, &event));
    EXPECT(OK, CALL("fmi3GetClock", (Component, const Reference *, size_t, bool *), m, NULL, 0, NULL));
    EXPECT(REFUSED, CALL("fmi3EnterConfigurationMode", (Component), m));
    EXPECT(REFUSED, CALL("fmi3EnterStepMode", (Component), m));
    EXPECT(REFUSED, CALL("fmi3GetNumberOfContinuousStates", (Component, size_t *), m, NULL));
    EXPECT(OK, CALL("fmi3GetNumberOfContinuousStates", (Component, size_t *), m, &n));
    EXPECT(0, (int)n);
    EXPECT(OK, CALL("fmi3EnterInitializationMode", (Component, bool, double, double, bool, double), m, 0, 0., 0., 0, 0.));
    EXPECT(OK, CALL("fmi3SetFloat64", FLOAT64, m, inputs, 3, values, 4));
    EXPECT(OK, CALL("fmi3ExitInitializationMode", (Component), m));
    EXPECT(REFUSED, CALL("fmi3GetDirectionalDerivative", SENSITIVITY, m, &output, 1, inputs, 3, values, 3, v, 2));
    EXPECT(REFUSED, CALL("fmi3GetDirectionalDerivative", SENSITIVITY, m, inputs, 1, inputs, 3, values, 4, v, 1));
    EXPECT(REFUSED, CALL("fmi3GetAdjointDerivative", SENSITIVITY, m, &output, 1, &first, 1, NULL, 2, v, 1));
    EXPECT(OK, CALL("fmi3GetAdjointDerivative", SENSITIVITY, m, &output, 1, &first, 1, values, 2, v, 1));
#define STEP (Component, double, double, bool, bool *, bool *, bool *, double *)
    EXPECT(REFUSED, CALL("fmi3DoStep", STEP, m, 0.0, 0.1, 1, NULL, NULL, NULL, NULL));
    EXPECT(OK, CALL("fmi3DoStep", STEP, m, 0.0, 0.1, 1, &event, &terminate, &early, v));
    EXPECT(REFUSED, CALL("fmi3SetTime", (Component, double), m, 0.5));
    EXPECT(OK, CALL("fmi3GetFloat64", FLOAT64, m, &output, 1, v, 2));
    printf("%a\n", v[0]);
    EXPECT(OK, CALL("fmi3Terminate", (Component), m));
    ((void (*)(Component))found("fmi3FreeInstance"))(m);
    return 0;
}

int main(int count, char **given)
{
    (void)count;
    Callbacks callbacks = {logged, NULL, NULL, NULL, "environment"};
    Component (*instantiate)(const char *, int, const char *, const char *, const Callbacks *, int, int);
    Reference first = 0, none = 100000, references[] = {0, 1};
    double value = 0, values[] = {0.25, 0.5};
    void *saved = NULL;
    size_t size = 0;
    char bytes[4096];
    library = dlopen(given[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return fprintf(stderr, "%s\n", dlerror());
    }
    instantiate = found("fmi2Instantiate");
    if (atoi(given[3])) {
        _mm_setcsr(_mm_getcsr() | 0x4000);
        Component refused = instantiate("rounding", CO_SIMULATION, given[2], "", &callbacks, 0, 0);
        return refused == NULL && n_messages == 1 ? 0 : 1;
    }
    if (instantiate("other", CO_SIMULATION, "{another}", "", &callbacks, 0, 0) != NULL || n_messages != 1 ||
        instantiate("other", CO_SIMULATION, NULL, "", &callbacks, 0, 0) != NULL ||
        instantiate(NULL, CO_SIMULATION, "", NULL, NULL, 0, 0) != NULL) {
        return fprintf(stderr, "an instance with the wrong GUID\n");
    }
    Component me = instantiate("me", MODEL_EXCHANGE, given[2], NULL, &callbacks, 0, 1);
    Component cs = instantiate("cs", CO_SIMULATION, given[2], NULL, NULL, 0, 0);
    if (me == NULL || cs == NULL) {
        return fprintf(stderr, "no instance\n");
    }
    EXPECT(REFUSED, CALL("fmi2GetReal", REAL, NULL, &first, 1, &value));
    EXPECT(REFUSED, CALL("fmi2GetReal", REAL, me, NULL, 1, &value));
    EXPECT(REFUSED, CALL("fmi2GetReal", REAL, me, &first, 1, NULL));
    EXPECT(OK, CALL("fmi2GetReal", REAL, me, NULL, 0, NULL));
    EXPECT(REFUSED, CALL("fmi2GetReal", REAL, me, &none, 1, &value));
    EXPECT(REFUSED, CALL("fmi2SetReal", REAL, me, &none, 1, &value));
    EXPECT(REFUSED, CALL("fmi2SetReal", REAL, me, NULL, 1, NULL));
    EXPECT(REFUSED, CALL("fmi2GetInteger", REAL, me, &first, 1, NULL));
    EXPECT(REFUSED, CALL("fmi2SetString", REAL, me, NULL, 1, NULL));
    EXPECT(REFUSED, CALL("fmi2ExitInitializationMode", (Component), me));
    EXPECT(REFUSED, CALL("fmi2DoStep", (Component, double, double, int), cs, 0.0, 0.1, 1));
    EXPECT(REFUSED, CALL("fmi2SetTime", (Component, double), me, 0.5));
    EXPECT(OK, CALL("fmi2SetupExperiment", (Component, int, double, double, int, double), me, 0, 0.0, 0.0, 0, 0.0));
    for (int i = 0; i < 2; i++) {
        EXPECT(OK, CALL("fmi2EnterInitializationMode", (Component), i ? cs : me));
        EXPECT(REFUSED, CALL("fmi2EnterInitializationMode", (Component), i ? cs : me));
        EXPECT(OK, CALL("fmi2SetReal", REAL, i ? cs : me, references, 2, values));
        EXPECT(OK, CALL("fmi2ExitInitializationMode", (Component), i ? cs : me));
    }
    EXPECT(REFUSED, CALL("fmi2DoStep", (Component, double, double, int), me, 0.0, 0.1, 1));
    EXPECT(OK, CALL("fmi2DoStep", (Component, double, double, int), cs, 0.0, 0.1, 1));
    EXPECT(REFUSED, CALL("fmi2EnterContinuousTimeMode", (Component), cs));
    EXPECT(REFUSED, CALL("fmi2NewDiscreteStates", (Component, void *), me, NULL));
    EXPECT(OK, CALL("fmi2EnterContinuousTimeMode", (Component), me));
    EXPECT(OK, CALL("fmi2SetTime", (Component, double), me, 0.5));
    EXPECT(REFUSED, CALL("fmi2CompletedIntegratorStep", (Component, int, int *, int *), me, 1, NULL, NULL));
    EXPECT(OK, CALL("fmi2GetDerivatives", (Component, double *, size_t), me, NULL, 0));
    EXPECT(REFUSED, CALL("fmi2GetDerivatives", (Component, double *, size_t), me, &value, 1));
    EXPECT(DISCARD, CALL("fmi2GetStatus", (Component, int, int *), cs, 0, &n_messages));
    EXPECT(REFUSED, CALL("fmi2GetRealStatus", (Component, int, double *), cs, 2, NULL));
    EXPECT(OK, CALL("fmi2GetRealStatus", (Component, int, double *), cs, 2, &value));
#define DIRECTION (Component, const Reference *, size_t, const Reference *, size_t, const double *, double *)
    EXPECT(REFUSED, CALL("fmi2GetDirectionalDerivative", DIRECTION, me, NULL, 1, NULL, 1, NULL, NULL));
    EXPECT(REFUSED, CALL("fmi2GetDirectionalDerivative", DIRECTION, me, &first, 1, &first, 1, values, &value));
    EXPECT(REFUSED, CALL("fmi2GetDirectionalDerivative", DIRECTION, me, &none, 1, &first, 1, values, &value));
    EXPECT(REFUSED, CALL("fmi2GetFMUstate", (Component, void **), me, NULL));
    EXPECT(OK, CALL("fmi2GetFMUstate", (Component, void **), me, &saved));
    EXPECT(OK, CALL("fmi2GetFMUstate", (Component, void **), me, &saved));
    EXPECT(REFUSED, CALL("fmi2SetFMUstate", (Component, void *), me, NULL));
    EXPECT(OK, CALL("fmi2SetFMUstate", (Component, void *), me, saved));
    EXPECT(OK, CALL("fmi2SerializedFMUstateSize", (Component, void *, size_t *), me, saved, &size));
    EXPECT(REFUSED, CALL("fmi2SerializeFMUstate", (Component, void *, char *, size_t), me, saved, bytes, size - 1));
    EXPECT(OK, CALL("fmi2SerializeFMUstate", (Component, void *, char *, size_t), me, saved, bytes, size));
    EXPECT(OK, CALL("fmi2FreeFMUstate", (Component, void **), me, &saved));
    EXPECT(OK, CALL("fmi2FreeFMUstate", (Component, void **), me, &saved));
    EXPECT(REFUSED, CALL("fmi2DeSerializeFMUstate", (Component, char *, size_t, void **), me, bytes, 3, &saved));
    EXPECT(OK, CALL("fmi2DeSerializeFMUstate", (Component, char *, size_t, void **), me, bytes, size, &saved));
    memset(bytes, 7, sizeof bytes);
    EXPECT(REFUSED, CALL("fmi2DeSerializeFMUstate", (Component, char *, size_t, void **), me, bytes, size, &saved));
    EXPECT(OK, CALL("fmi2FreeFMUstate", (Component, void **), me, &saved));
    EXPECT(OK, CALL("fmi2Terminate", (Component), me));
    EXPECT(REFUSED, CALL("fmi2SetReal", REAL, me, references, 2, values));
    EXPECT(OK, CALL("fmi2Reset", (Component), me));
    EXPECT(REFUSED, CALL("fmi3GetFloat64", FLOAT64, me, &first, 1, &value, 1));
    ((void (*)(Component))found("fmi2FreeInstance"))(me);
    ((void (*)(Component))found("fmi2FreeInstance"))(cs);
    ((void (*)(Component))found("fmi2FreeInstance"))(NULL);
    return through_fmi3(given[2]) || dlclose(library);
}
