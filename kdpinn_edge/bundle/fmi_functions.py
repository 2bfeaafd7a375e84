"""The functions of the FMI standards: what every FMU must export, whether it has something to say to them or not."""

FMI2 = """
    CancelStep CompletedIntegratorStep DeSerializeFMUstate DoStep EnterContinuousTimeMode EnterEventMode
    EnterInitializationMode ExitInitializationMode FreeFMUstate FreeInstance GetBoolean GetBooleanStatus
    GetContinuousStates GetDerivatives GetDirectionalDerivative GetEventIndicators GetFMUstate GetInteger
    GetIntegerStatus GetNominalsOfContinuousStates GetReal GetRealOutputDerivatives GetRealStatus GetStatus
    GetString GetStringStatus GetTypesPlatform GetVersion Instantiate NewDiscreteStates Reset SerializeFMUstate
    SerializedFMUstateSize SetBoolean SetContinuousStates SetDebugLogging SetFMUstate SetInteger SetReal
    SetRealInputDerivatives SetString SetTime SetupExperiment Terminate
"""
"""Section 2.1 and the sections on model exchange and co-simulation of FMI 2.0, without their prefix fmi2."""

FMI3 = """
    ActivateModelPartition CompletedIntegratorStep DeserializeFMUState DoStep EnterConfigurationMode
    EnterContinuousTimeMode EnterEventMode EnterInitializationMode EnterStepMode EvaluateDiscreteStates
    ExitConfigurationMode ExitInitializationMode FreeFMUState FreeInstance GetAdjointDerivative GetBinary
    GetBoolean GetClock GetContinuousStateDerivatives GetContinuousStates GetDirectionalDerivative
    GetEventIndicators GetFMUState GetFloat32 GetFloat64 GetInt16 GetInt32 GetInt64 GetInt8 GetIntervalDecimal
    GetIntervalFraction GetNominalsOfContinuousStates GetNumberOfContinuousStates GetNumberOfEventIndicators
    GetNumberOfVariableDependencies GetOutputDerivatives GetShiftDecimal GetShiftFraction GetString GetUInt16
    GetUInt32 GetUInt64 GetUInt8 GetVariableDependencies GetVersion InstantiateCoSimulation
    InstantiateModelExchange InstantiateScheduledExecution Reset SerializeFMUState SerializedFMUStateSize
    SetBinary SetBoolean SetClock SetContinuousStates SetDebugLogging SetFMUState SetFloat32 SetFloat64 SetInt16
    SetInt32 SetInt64 SetInt8 SetIntervalDecimal SetIntervalFraction SetShiftDecimal SetShiftFraction SetString
    SetTime SetUInt16 SetUInt32 SetUInt64 SetUInt8 Terminate UpdateDiscreteStates
"""
"""The sections on the common interface, model exchange, co-simulation and scheduled execution of FMI 3.0."""

FMI_FUNCTIONS = frozenset([*(f"fmi2{name}" for name in FMI2.split()), *(f"fmi3{name}" for name in FMI3.split())])
