"""What a run tells: `logger` on the terminal, `records` in the workdir."""
