"""Programs from Programs: derivatives, Laplacians and the residual of an equation, and what they are called."""
