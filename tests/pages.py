"""A server's page in a real browser."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Opened:
    """A page, what it logged and what it asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, browser: Any, url: str, **context: Any) -> Opened:
        found = cls(browser.new_context(**context).new_page())
        found.page.on("console", lambda message: found.messages.append(message.text))
        found.page.on("pageerror", lambda error: found.messages.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(url)
        found.page.locator("#about:not(:empty)").wait_for()
        return found

    def ask(self, text: str) -> None:
        """Ask, and wait for the whole reason."""
        self.page.fill("#text", text)
        self.page.click("#send")
        self.page.locator("#stated").filter(has_text="states").wait_for()

    def open_table(self, content: str | bytes, name: str = "days.csv") -> None:
        """Open a CSV file."""
        data = content.encode() if isinstance(content, str) else content
        self.page.set_input_files("#table", {"name": name, "mimeType": "text/csv", "buffer": data})

    def answer_all(self) -> None:
        """Ask for all texts of the table, and wait until that has ended."""
        self.page.locator("#batch-options").wait_for()
        self.page.click("#run")
        self.page.locator("#run:enabled").wait_for()

    def download(self) -> list[dict[str, str]]:
        """Rows of the answers."""
        with self.page.expect_download() as download:
            self.page.click("#download")
        text = Path(download.value.path()).read_bytes().decode("utf-8")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def drop(self, where: str, name: str, data: bytes) -> bool:
        """Drag a file over an element and let it go; whether the page took it, and the browser did not open it."""
        return self.page.evaluate(
            """([where, name, data]) => {
              const files = new DataTransfer();
              files.items.add(new File([new Uint8Array(data)], name));
              return ['dragover', 'drop'].every((kind) => !document.querySelector(where).dispatchEvent(
                new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true})));
            }""",
            [where, name, list(data)],
        )
