"""Many networks at once: the comparison of ways to train them, and the search for the one that fits a budget."""
