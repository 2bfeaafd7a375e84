"""Problem → Teacher → Student, in torch float64."""
