"""The exceptions of the package: one small tree under ``VssError``.

Errors of SQLite itself (a locked file, a full disk, an SQL error in the caller's own statement) arrive as the driver's own
classes, for example ``sqlite3.OperationalError``. Those out of the package's own operations name the file and what to do,
have SQLite's code, and the first error as their ``__cause__``.

    VssError
    |- ConnectionSetupError         a connection cannot be used as it is
    |  `- ExtensionLoadError        vss0 could not be loaded into it
    |- ConfigurationError           an argument or option is unknown or contradicts another (a ValueError)
    |- MissingDependencyError       an optional package is not installed (an ImportError)
    |- InvalidVectorError           vectors or ids that cannot be stored or searched (a ValueError)
    |  |- DimensionError            their length is not the column's
    |  `- DuplicateIdError          an id is there already, or twice in one call
    |- QueryError                   a search that cannot be answered as asked (a ValueError)
    |- DamagedError                 stored bytes do not add up
    |- EmbeddingError               texts could not be turned into vectors
    |  |- ModelNotFoundError        the model or one of its files cannot be found
    |  `- ProviderError             a hosted model refused, failed or answered nonsense
    |- MigrationError               a schema change was refused; nothing was changed
    |  |- SchemaVersionError        the file was written by a newer vssnative
    |  `- UnknownNameError          no table, column or embeddings of that name are in the file
    |- SyncError                    the queue or a worker cannot go on
    `- ShardError                   shards that did not answer, or a publish that could not be made
       `- PublishConflictError      others published first, again and again

    VssWarning                      an answer that is less than it seems (a UserWarning)

Where their text ends in an advice that names functions of Python, ``in_shell`` names commands instead.
"""

from __future__ import annotations

from ._advice import Advice, Advised


class VssError(Advised):
    """Base of every exception that this package raises on purpose."""


class ConnectionSetupError(VssError):
    """The connection cannot be used: an unknown driver, a closed connection, a setting that was refused."""


class ExtensionLoadError(ConnectionSetupError):
    """vss0 could not be loaded. The message lists what was tried, what came of it, and what to do.

    Attributes:
        tried: one sentence per way that was tried, in order.
    """

    def __init__(self, message: str, tried: tuple[str, ...] = (), *, advice: Advice | None = None) -> None:
        super().__init__(message, advice=advice)
        self.tried = tried


class ConfigurationError(VssError, ValueError):
    """An argument or option is unknown, has the wrong type, or contradicts another one."""


class MissingDependencyError(VssError, ImportError):
    """An optional package is needed for what was asked; the message names the command that installs it."""


class InvalidVectorError(VssError, ValueError):
    """Vectors or ids that cannot be taken: wrong dtype or layout, NaN, infinity, zero under cosine."""


class DimensionError(InvalidVectorError):
    """The vectors' length is not that of the column."""


class DuplicateIdError(InvalidVectorError):
    """An id is in the table already, or appears twice in one call. Nothing was added."""


class QueryError(VssError, ValueError):
    """A search that cannot be answered as asked, for example k < 1 or a ``where`` that SQLite refuses."""


class DamagedError(VssError):
    """Stored bytes do not add up; the message says which table and what ``repair`` can do."""


class EmbeddingError(VssError):
    """Texts could not be turned into vectors."""


class ModelNotFoundError(EmbeddingError):
    """The model, or one of its files, is not on this machine and could not be fetched."""


class ProviderError(EmbeddingError):
    """A hosted model refused, failed, or answered something that is no set of vectors.

    Attributes:
        status: HTTP status of the answer, None where there was no answer.
        retry_after: seconds that the provider asked to wait, None where it did not say.
        transient: whether the same call may succeed later (a limit, an outage) without any change of the
            texts.
        asked: whether the provider was asked at all; False while it is left alone after failures.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        transient: bool = False,
        asked: bool = True,
    ) -> None:
        super().__init__(message)
        self.asked = asked
        self.status = status
        self.retry_after = retry_after
        self.transient = transient


class MigrationError(VssError):
    """A schema change was refused or failed; it was rolled back as a whole."""


class SchemaVersionError(MigrationError):
    """The file's own tables have a newer layout than this version of the package knows."""


class UnknownNameError(MigrationError):
    """A table, a column or embeddings of that name are not in the file."""


class SyncError(VssError):
    """Synchronisation cannot go on, for example inside a transaction that somebody else holds open."""


class ShardError(VssError):
    """Shards did not answer, or could not be published; the message says which and why.

    Attributes:
        shards: their numbers.
    """

    def __init__(self, message: str, shards: tuple[int, ...] = (), *, advice: Advice | None = None) -> None:
        super().__init__(message, shards, advice=advice)
        self.shards = shards

    def __str__(self) -> str:
        return str(self.args[0])


class PublishConflictError(ShardError):
    """Somebody else published first each time it was tried. Nothing of this publish is visible; call it again."""


class VssWarning(Advised, UserWarning):
    """An answer that is less than it seems: nothing is embedded yet, or an index beside the table is behind it."""
