"""A model as a function of other frameworks, with its derivatives: a module each, imported when it is asked for."""
