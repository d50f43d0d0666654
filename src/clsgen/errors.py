"""The errors that clsgen raises on purpose.

    ClsgenError
    ├── ConfigError (ValueError)      a setting, an unknown key, a combination that can't work
    ├── DataError (ValueError)        a file, column, label or row that can't be used
    │   └── LeakError                 rows of one group, or one document, in more than one role
    ├── TemplateError (ValueError)    a chat template that can't be split, a changed golden prompt
    ├── ModelError (RuntimeError)     a backbone that can't be loaded, or whose shape is not understood
    │   └── HardwareError             the setting needs a device that is not there
    ├── ArtifactError (ValueError)    a missing, misshapen or altered file in a model or run directory
    ├── TrainingError (RuntimeError)  a loss that is not finite, a checkpoint that can't be written
    │   └── PeerError                 another process of the same run failed, and says why
    ├── RunStopped (RuntimeError)     a run that was asked to stop, with all that it takes to go on
    ├── CalibrationError (ValueError) too few or unusable rows to fit a calibrator
    ├── TeacherError (RuntimeError)   a language model that finally gave no usable answer
    │   └── BudgetError               the next request could pass the budget
    ├── ClientError (RuntimeError)    a server of a folded model that can't be reached, or tells too little
    ├── HubError (RuntimeError)        a model that the hub lacks, withholds or doesn't take
    └── RestrictedError (PermissionError) something a restricted task refuses

Message form: "{where}: {name} must be {rule}; got {value!r}. {what to do}."
"""


class ClsgenError(Exception):
    """Root of every error that clsgen raises on purpose."""


class ConfigError(ClsgenError, ValueError):
    """A setting is wrong; the message lists every problem found."""


class DataError(ClsgenError, ValueError):
    """A file, column, label or row can't be used; the message names file and line."""


class LeakError(DataError):
    """Rows that belong together stand in more than one role."""


class TemplateError(ClsgenError, ValueError):
    """A chat template can't be split into its pieces, or renders otherwise than when it was saved."""


class ModelError(ClsgenError, RuntimeError):
    """A backbone can't be loaded, or its shape is not understood."""


class HardwareError(ModelError):
    """The setting needs a device that this machine lacks."""


class ArtifactError(ClsgenError, ValueError):
    """A file of a model or run directory is missing, misshapen or altered."""


class TrainingError(ClsgenError, RuntimeError):
    """Training can't go on: a loss that is not finite, a checkpoint that can't be written."""


class PeerError(TrainingError):
    """Another process of the same run failed; that one says why."""


class RunStopped(ClsgenError, RuntimeError):
    """A run was asked to stop (SIGTERM) and did, with all on the disk that it takes to go on."""


class CalibrationError(ClsgenError, ValueError):
    """The calibration rows can't carry the calibrator that was asked for."""


class TeacherError(ClsgenError, RuntimeError):
    """A language model that was asked has finally given no usable answer.

    Attributes:
        reason: What to count it as: "timeout", "connection", "http_503", "malformed", "budget".
        tokens_charged: What it may have cost all the same, at most.
    """

    tokens_charged = 0

    def __init__(self, message: str, *, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


class BudgetError(TeacherError):
    """The budget is spent: the next request could pass it, and no other is under way."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="budget")


class ClientError(ClsgenError, RuntimeError):
    """A server of a folded model can't be reached, refuses, or does not tell what is needed."""


class HubError(ClsgenError, RuntimeError):
    """The hub lacks a model, withholds it, doesn't take it, or can't be reached."""


class RestrictedError(ClsgenError, PermissionError):
    """A restricted task (data under an access agreement) refuses what was asked."""
