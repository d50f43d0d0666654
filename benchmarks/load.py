"""Clients of a server, for locust: each sends one text after another until so many were sent by all of them.

Run by serving.py under the peers' environment; its settings are environment variables: LOAD_TEXTS (a JSON list of
texts), LOAD_PATH, LOAD_REQUESTS.
"""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path

from locust import FastHttpUser, task

TEXTS = json.loads(Path(os.environ["LOAD_TEXTS"]).read_text(encoding="utf-8"))
PATH, NUM_REQUESTS = os.environ["LOAD_PATH"], int(os.environ["LOAD_REQUESTS"])
NUMBERS, ENDED = count(), count()


class Client(FastHttpUser):
    """Asks, and waits for the answer before asking again."""

    @task
    def ask(self) -> None:
        """One request; a full queue is no failure, but counted apart."""
        number = next(NUMBERS)
        if number >= NUM_REQUESTS:
            if next(ENDED) + 1 == self.environment.runner.target_user_count:
                self.environment.runner.quit()
            self.stop()
            return
        body = {"texts": TEXTS[number % len(TEXTS)]}
        with self.client.post(PATH, json=body, catch_response=True) as response:
            if response.status_code == 429:
                self.environment.events.request.fire(
                    request_type="REFUSED", name=PATH, response_time=0, response_length=0, exception=None, context={}
                )
            if response.status_code in (200, 429):
                response.success()
