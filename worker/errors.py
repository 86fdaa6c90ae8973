"""Errors of the worker; ``transient`` says whether trying again can help.

WorkerError
├── SettingsError     a setting is missing, unknown or wrong
├── SchemaError       the database has no schema of this version
├── StorageError      the spool or the journal cannot be read or written  (transient)
└── MissingInstance   the journal knows an instance whose file is gone
"""


class WorkerError(Exception):
    """Something the operator can act on: the message says what, why and what to do."""

    transient = False


class SettingsError(WorkerError):
    """A setting is missing, unknown or wrong."""


class SchemaError(WorkerError):
    """The database has no schema, or one of another version."""


class StorageError(WorkerError):
    """The spool or the journal cannot be read or written at the moment."""

    transient = True


class MissingInstance(WorkerError):
    """The journal knows the instance, but its file is not in the spool."""
