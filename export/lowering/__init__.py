"""Program → kernel: steps, a place for every number, typed loops, and their emitters."""
