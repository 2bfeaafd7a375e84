"""Bundle → numbers: engines that need neither torch nor a compiler."""
