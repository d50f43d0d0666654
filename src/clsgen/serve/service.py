"""What every route of the server shares."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPBearer

from clsgen.errors import ConfigError, DataError
from clsgen.inference.predictor import Classifier
from clsgen.serve.asking import Wanted
from clsgen.serve.desk import Desk
from clsgen.serve.guard import Gate, owner_of
from clsgen.serve.metrics import Metrics
from clsgen.serve.results import Results
from clsgen.serve.schemas import ClassifyRequest, ExplainRequest
from clsgen.serve.settings import ServeSettings
from clsgen.types import Example

_LETTERS_A_TOKEN = 16
"""No text that means anything has so many."""
_BEARER = HTTPBearer(auto_error=False, description="Only where the server was given keys.")
"""For the API's description; whether a key is known is decided in `let_in`."""


class Service:
    """The model's desk, the limits, the counters.

    Args:
        classifier: The model.
        name: What it is called over the wire.
        settings: Limits.
    """

    def __init__(self, classifier: Classifier, name: str, settings: ServeSettings) -> None:
        self.settings, self.name = settings, name
        self.spec, self.explains = classifier.spec, classifier.bundle.has_explanations
        self.results = Results(classifier.spec.positive, classifier.bundle.similar)
        self.gate = Gate()
        self.metrics = Metrics(num_queued=lambda: self.desk.num_queued, num_open=lambda: self.desk.num_open)
        self.desk = Desk(
            classifier,
            batch_tokens=settings.batch_tokens,
            max_queued=settings.max_queued,
            max_tokens=settings.max_tokens,
            watch=self.metrics,
        )

    def wanted(self, http: Request, explains: ExplainRequest | None) -> Wanted:
        """What is asked, and by whom."""
        if explains is not None and not self.explains:
            raise ConfigError("this model must have been trained to explain; it was not. Ask /v1/classify.")
        peer = "" if http.client is None else http.client.host
        client = getattr(http.state, "owner", None) or peer
        mode = "free" if explains is None else explains.mode
        return Wanted(explains is not None, mode, self.settings.deadline_s, client)

    def checked(self, body: ClassifyRequest) -> list[Example]:
        """The texts of a request.

        Raises:
            DataError: More than one request may hold, or one that is longer than its tokens need to be counted for.
        """
        examples, limit = body.examples(), self.max_texts
        if len(examples) > limit:
            raise DataError(f"texts must be at most {limit} in one request; got {len(examples)}. Send them in parts.")
        max_letters = _LETTERS_A_TOKEN * self.settings.max_tokens
        for each in examples:
            if len(each.document) + len(each.question) > max_letters:
                raise DataError(
                    f"a text must be at most {self.settings.max_tokens:,} tokens, and {max_letters:,} characters in "
                    f"any case; {each.id} has {len(each.document):,}. Send the part that matters."
                )
        return examples

    @property
    def max_texts(self) -> int:
        """Texts of one request: no more than may wait."""
        return min(self.settings.max_texts, self.settings.max_queued)


def let_in(service: Service) -> Any:
    """A dependency of a route, which refuses whoever has no key, where there are keys."""

    async def check(http: Request, given: Annotated[Any, Security(_BEARER)]) -> None:
        keys = service.settings.keys
        owner = owner_of(http.headers.get("authorization"), keys)
        if keys and owner is None:
            raise HTTPException(
                401, "a key must be given as `Authorization: Bearer KEY`.", {"www-authenticate": "Bearer"}
            )
        http.state.owner = owner

    return Depends(check)
