"""The command line, one file a group of verbs. `concept_edit.__main__` only assembles them."""
