"""The command line: `audiopalm COMMAND --help`."""
