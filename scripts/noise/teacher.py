"""A teacher with known errors, for generated notes: how often it is right by class, how often it makes a cause up.

    python scripts/noise/teacher.py --port 8901 --right died=0.4 survived=0.95

It answers as an OpenAI-compatible endpoint does. What it says depends on the prompt and the seed alone, so that a
study can be repeated. It knows the notes by their text: it makes the same ones as the run that asks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from clsgen.tasks.synthetic import generate_notes
from clsgen.types import Example

_FRAMES = (
    "The note reports {facts}, which speaks for {verdict}.",
    "What decides it is {facts}; that points to {verdict}.",
    "With {facts} in the note, {verdict} is what to expect.",
    "This reads as {verdict}, because the note describes {facts}.",
    "{verdict} follows from {facts}, the findings that weigh most here.",
)
_VERDICTS = {
    "died": ("death within 30 days", "an early death after discharge", "death within a month of discharge"),
    "survived": ("survival past 30 days", "survival beyond the first month", "a good outlook for the next 30 days"),
}


@dataclass(frozen=True, slots=True)
class Errors:
    """How a teacher fails.

    Attributes:
        right: Label -> chance that a blind answer states it where it holds.
        made_up: Chance that an answer which was found blind names causes that the note does not have.
        made_up_when_told: The same where the label was told and a blind answer would have been wrong: a teacher that
            doesn't see why makes something up.
    """

    right: Mapping[str, float]
    made_up: float = 0.1
    made_up_when_told: float = 0.5


class NoisyTeacher:
    """Answers chat requests about notes that it knows.

    Attributes:
        num_answers: Answers so far, by kind of prompt.
    """

    def __init__(self, notes: Sequence[Example], errors: Errors) -> None:
        self._notes = {note.document: note for note in notes}
        self._facts = sorted({(cause["fact"], cause["contribution"] > 0) for n in notes for cause in causes(n)})
        self._errors = errors
        self.num_answers = {"blind": 0, "hinted": 0, "argue": 0}

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the chat completion for a request's body."""
        user = next(message["content"] for message in body["messages"] if message["role"] == "user")
        note = self._notes[user.partition("Text:\n")[2].partition("\n\nQuestion: ")[0]]
        kind, told = _kind(user)
        self.num_answers[kind] += 1
        digest = hashlib.sha256(f"{note.id} {kind} {told} {body.get('seed', 0)}".encode()).digest()
        rng = np.random.default_rng(list(digest[:8]))
        content = json.dumps(self._answer(note, kind, told, rng))
        counts = {"prompt_tokens": len(user) // 4, "completion_tokens": len(content) // 4}
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": "noisy-teacher",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}},
            ],
            "usage": {**counts, "total_tokens": sum(counts.values())},
        }

    def _answer(self, note: Example, kind: str, told: str | None, rng: np.random.Generator) -> dict[str, str]:
        label = str(note.label)
        is_right = rng.random() < self._errors.right[label]
        if told is None:
            stated = label if is_right else next(each for each in _VERDICTS if each != label)
            made_up = self._errors.made_up
        else:
            stated = told
            made_up = self._errors.made_up if is_right and told == label else self._errors.made_up_when_told
        return {"reason": self._reason(note, stated, rng, is_made_up=rng.random() < made_up), "answer": stated}

    def _reason(self, note: Example, stated: str, rng: np.random.Generator, *, is_made_up: bool) -> str:
        raises = stated == "died"
        facts = [cause["fact"] for cause in causes(note) if (cause["contribution"] > 0) == raises]
        if is_made_up or not facts:
            others = [fact for fact, fact_raises in self._facts if fact_raises == raises and fact not in note.document]
            facts = [str(fact) for fact in rng.choice(others, size=2, replace=False)]
        listed = facts[0] if len(facts) == 1 else f"{', '.join(facts[:-1])} and {facts[-1]}"
        verdict = str(rng.choice(_VERDICTS[stated]))
        text = str(rng.choice(_FRAMES)).format(facts=listed, verdict=verdict)
        return text[0].upper() + text[1:]


def causes(note: Example) -> list[dict[str, Any]]:
    """The findings that move a note's risk most, with the note's own words for them."""
    return list(note.metadata["causes"])


def _kind(user: str) -> tuple[str, str | None]:
    for kind, words in (("hinted", "The right answer is: "), ("argue", "Argue that the answer is: ")):
        if words in user:
            return kind, user.rpartition(words)[2].partition(". Give")[0]
    return "blind", None


def serve(teacher: NoisyTeacher, port: int) -> ThreadingHTTPServer:
    """A server on loopback; `port` 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            payload = json.dumps(teacher.answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *arguments: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8901)
    parser.add_argument("--right", nargs=2, default=["died=0.4", "survived=0.95"], metavar="LABEL=SHARE")
    parser.add_argument("--num-rows", type=int, default=2000)
    parser.add_argument("--prevalence", type=float, default=0.3)
    arguments = parser.parse_args()
    right = {label: float(share) for label, _, share in (each.partition("=") for each in arguments.right)}
    notes = generate_notes(arguments.num_rows, length="short", prevalence=arguments.prevalence, seed=0)
    serve(NoisyTeacher(notes, Errors(right)), arguments.port).serve_forever()


if __name__ == "__main__":
    main()
