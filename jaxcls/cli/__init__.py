"""The command line: one file a verb, listed in `verbs`."""
