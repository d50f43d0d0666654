"""The documentation site: `make docs` builds it with warnings as errors; no page of it loads another host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.util import logging

import clsgen

logger = logging.getLogger(__name__)

project = "clsgen"
author = "the clsgen authors"
copyright = "the clsgen authors, Apache-2.0"
release = version = clsgen.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "decisions/0000-template.md", "results/preface.md"]

# Pages are Markdown that reads well without the site, so headings are the anchors and plain links the references.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

# Notebooks are run at every build, each in a folder of its own. A reader waits a minute or so; a busy machine
# may take several times that, and what takes longer still fails the build.
MOST_SECONDS = 300
nb_execution_mode = "force"
nb_execution_in_temp = True
os.environ |= {  # of the kernels: falls.py beside the notebooks, and no bars of progress in their outputs
    "PYTHONPATH": str(Path(__file__).parent / "tutorials"),
    "TTY_COMPATIBLE": "0",
    "PYTHONWARNINGS": "ignore:IProgress not found",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
nb_execution_timeout = MOST_SECONDS
nb_execution_show_tb = True
nb_output_stderr = "remove"  # warnings of libraries about the kernel; an error ends the build
suppress_warnings = ["misc.highlighting_failure"]  # a cell that writes a YAML file is no Python

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "clsgen"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b4965", "color-brand-content": "#1b4965"},
    "dark_css_variables": {"color-brand-primary": "#8ecae6", "color-brand-content": "#8ecae6"},
}


def _escape(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Bars of a docstring are absolute values, where Sphinx would see a substitution."""
    lines[:] = [line if ">>>" in line else line.replace("|", r"\|") for line in lines]


def _offer(app: Any, name: str, text: list[str]) -> None:
    """A Markdown file outside of these pages is a download, where MyST would look for a page."""
    text[0] = text[0].replace("](../src/", "](path:../src/").replace("](../../src/", "](path:../../src/")


def _warn_of_slow(app: Any, env: Any) -> None:
    """A warning, and so an error, for a notebook that a reader would have to wait for."""
    for name in env.found_docs:
        found = NbMetadataCollector.get_exec_data(env, name)
        if found:
            log = logger.warning if found["runtime"] > MOST_SECONDS else logger.info
            log("%s ran for %.0f s of at most %d", name, found["runtime"], MOST_SECONDS)


def setup(app: Any) -> None:
    """Connect what is changed in the text that is read, and what is looked at in the end."""
    app.connect("autodoc-process-docstring", _escape)
    app.connect("source-read", _offer)
    app.connect("env-updated", _warn_of_slow)
