"""The command line, a file a group of verbs; each verb is the library call of its name."""
