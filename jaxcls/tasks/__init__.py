"""Tasks: what is learned (supervised, ...), and wrappers around them (batch transforms, EMA)."""
