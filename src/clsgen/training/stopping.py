"""An orderly stop on SIGTERM, which is how a scheduler takes a machine away."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from clsgen.errors import RunStopped
from clsgen.training.ranks import any_of, forget, leave, stop
from clsgen.training.starter import STARTER

_PR_SET_PDEATHSIG = 1
"""Linux: the system sends this process a signal when the one that started it has ended."""


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """Ends training after the step under way, with a checkpoint; all processes of a run stop at the same step.

    Outside the steps there is nothing to save that is not on the disk: it ends at once, or as soon as the others know.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._is_training = False
        self._stops = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it SIGTERM is a request to stop, and so is the end of the process that started this one.

        Raises:
            RunStopped: It came.
        """
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            self._hear_of_starter()
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _hear_of_starter(self) -> None:
        """A starter that was killed tells nobody: its processes would train on, out of reach of the terminal."""
        starter = os.environ.get(STARTER)
        if starter is None:
            return
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != int(starter):
            self._hear(signal.SIGTERM, None)

    def _hear(self, number: int, frame: Any) -> None:
        if self._is_asked:  # twice: by the scheduler, and by the starter that passes it on
            return
        self._is_asked = True
        if not self._is_training:
            stop(RunStopped("train: stopped by SIGTERM; no step was under way."))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on a request waits for the end of a step."""
        self._is_training = True
        forget()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where any process was told to stop; the last of an epoch or run is evaluated first."""
        if any_of(self._is_asked):
            self._stops = True
            is_last = control.should_training_stop or float(state.epoch).is_integer()
            control.should_save = control.should_save or not is_last

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for it there too, which comes after the last step of a run as well."""
        control.should_save = control.should_save or self._stops

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave in every process once the checkpoint is written.

        Nothing may tell the trainer to stop: it would write the checkpoint once more, as the last one of the run.

        Raises:
            RunStopped: A request came while training.
        """
        if self._stops:
            self._leave(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The same for a request after the last step.

        Raises:
            RunStopped: It came.
        """
        is_asked = any_of(self._is_asked)
        self._is_training = False
        if is_asked:
            self._leave(state)

    def _leave(self, state: Any) -> None:
        self._is_training = False
        leave()
        raise RunStopped(f"train: stopped by SIGTERM after step {state.global_step}, which is saved.")
