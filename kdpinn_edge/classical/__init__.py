"""What a network is compared with that is none: tables, closed forms, solvers; their meaning in NumPy, and their C."""
