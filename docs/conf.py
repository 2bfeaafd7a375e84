"""The site of the documentation, built by `make docs` into `site/`. Its pages load nothing from the network."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # of tutorials

from site_pages import links, reference  # noqa: E402

project = "kdpinn_edge"
version = release = installed("kdpinn-edge")
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_static"]
highlight_language = "none"
maximum_signature_line_length = 88
python_display_short_literal_types = True

myst_enable_extensions = ["colon_fence", "html_image"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "furo"
html_title = project
toc_object_entries_show_parents = "hide"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["../build/docs/live"]
html_show_copyright = False
html_copy_source = False
html_baseurl = ""
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Generate the reference, and lead links of files outside docs/ to their pages."""
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir) / "reference"))
    app.connect("source-read", links.rewrite)
