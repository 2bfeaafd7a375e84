#if defined(@FMI@_FUNCTION_PREFIX) && !defined(@FMI@_OVERRIDE_FUNCTION_PREFIX)
#define JOINED(prefix, name) prefix##name
#define FULL(prefix, name) JOINED(prefix, name)
#define NAMED(name) FULL(@FMI@_FUNCTION_PREFIX, name)
#else
#define NAMED(name) name
#endif
#if defined(@FMI@_Export)
#define EXPORTED @FMI@_Export
#elif defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

/* The functions of the standard are given more than this model needs. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#elif defined(_MSC_VER)
#pragma warning(disable : 4100)
#endif

/* Begin a function: `m` is the instance, which must be in one of `modes`. */
#define CALLED(modes)                                \
    Instance *m = called(instance, __func__, modes); \
    if (m == NULL) {                                 \
        return @fmi@Error;                            \
    }

/* A function that only moves the instance from one of `modes` to `mode_after`. */
#define MOVES(name, modes, mode_after)                      \
    EXPORTED @fmi@Status NAMED(name)(@instance@ instance) \
    {                                                       \
        CALLED(modes)                                       \
        m->now.mode = mode_after;                           \
        return @fmi@OK;                                      \
    }

/* A function about what this model has not, and its parameters: fine for none of it, an error for `n` > 0. */
#define NONE(name, modes, n, expected, ...)                                                                 \
    EXPORTED @fmi@Status NAMED(name)(__VA_ARGS__)                                                            \
    {                                                                                                       \
        CALLED(modes)                                                                                       \
        return status((n) == 0 || refuse(m, __func__, "there are none of these; asked for:", n, expected)); \
    }
#define NONE_OF_TYPE(type)                                                           \
    NONE(@fmi@Get##type, ANY, n, "; expected: @number@", REFERENCES, @fmi@##type values[]@n_values@) \
    NONE(@fmi@Set##type, ALIVE, n, "; expected: @number@", REFERENCES, const @fmi@##type values[]@n_values@)
#define REFERENCES @instance@ instance, const @fmi@ValueReference references[], size_t n

static @fmi@Status status(int done)
{
    return done ? @fmi@OK : @fmi@Error;
}

EXPORTED const char *NAMED(@fmi@GetVersion)(void)
{
    return "@standard@";
}

/* Errors are always reported, and there is nothing else to say. */
EXPORTED @fmi@Status NAMED(@fmi@SetDebugLogging)(@instance@ instance, @fmi@Boolean on, size_t n,
                                               const @fmi@String categories[])
{
    CALLED(ANY)
    return status(n == 0 || categories != NULL);
}

EXPORTED void NAMED(@fmi@FreeInstance)(@instance@ instance)
{
    Instance *m = called(instance, __func__, ANY);
    if (m != NULL) {
        m->token = NULL;
        release(m);
    }
}

MOVES(@fmi@ExitInitializationMode, INITIALIZATION, m->is_co_simulation ? STEP : EVENT)
MOVES(@fmi@Terminate, RUNNING, TERMINATED)

EXPORTED @fmi@Status NAMED(@fmi@Reset)(@instance@ instance)
{
    CALLED(ANY)
    start_over(m);
    return @fmi@OK;
}

EXPORTED @fmi@Status NAMED(@fmi@Get@state@)(@instance@ instance, @fmi@@state@ *saved)
{
    CALLED(ANY)
    return status(save(m, saved));
}

EXPORTED @fmi@Status NAMED(@fmi@Set@state@)(@instance@ instance, @fmi@@state@ saved)
{
    CALLED(ANY)
    return status(restore(m, saved));
}

EXPORTED @fmi@Status NAMED(@fmi@Free@state@)(@instance@ instance, @fmi@@state@ *saved)
{
    CALLED(ANY)
    discard(saved);
    return @fmi@OK;
}

EXPORTED @fmi@Status NAMED(@fmi@Serialized@state@Size)(@instance@ instance, @fmi@@state@ saved, size_t *size)
{
    CALLED(ANY)
    return status(serialized_size(saved, size));
}

EXPORTED @fmi@Status NAMED(@fmi@Serialize@state@)(@instance@ instance, @fmi@@state@ saved, @fmi@Byte bytes[],
                                                 size_t size)
{
    CALLED(ANY)
    return status(serialize(saved, bytes, size));
}

EXPORTED @fmi@Status NAMED(@fmi@@deserialize@@state@)(@instance@ instance, const @fmi@Byte bytes[], size_t size,
                                                   @fmi@@state@ *saved)
{
    CALLED(ANY)
    return status(deserialize(bytes, size, saved));
}

/* Model exchange: no states, no events. */

MOVES(@fmi@EnterContinuousTimeMode, EVENT, CONTINUOUS)

EXPORTED @fmi@Status NAMED(@fmi@CompletedIntegratorStep)(@instance@ instance, @fmi@Boolean no_set_state,
                                                       @fmi@Boolean *enter_event_mode, @fmi@Boolean *terminate)
{
    CALLED(CONTINUOUS)
    if (enter_event_mode == NULL || terminate == NULL) {
        return @fmi@Error;
    }
    *enter_event_mode = *terminate = 0;
    return @fmi@OK;
}

EXPORTED @fmi@Status NAMED(@fmi@SetTime)(@instance@ instance, double time)
{
    CALLED(EVENT | CONTINUOUS)
    m->now.time = time;
    return @fmi@OK;
}

NONE(@fmi@SetContinuousStates, CONTINUOUS, n, "; expected: 0", @instance@ instance, const double values[], size_t n)
NONE(@fmi@Get@slopes@, ANY, n, "; expected: 0", @instance@ instance, double values[], size_t n)
NONE(@fmi@GetEventIndicators, ANY, n, "; expected: 0", @instance@ instance, double values[], size_t n)
NONE(@fmi@GetContinuousStates, ANY, n, "; expected: 0", @instance@ instance, double values[], size_t n)
NONE(@fmi@GetNominalsOfContinuousStates, ANY, n, "; expected: 0", @instance@ instance, double values[], size_t n)
