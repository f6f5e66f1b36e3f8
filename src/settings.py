"""Write the reference of all settings, made from the schemas and the presets.

Takes  the schemas of src/tonestack/ and configs/preset/; no word changes the page.
Leaves docs/settings.md.
"""

from pathlib import Path

from tonestack import cli
from tonestack.base.files import atomic
from tonestack.config.call import Call
from tonestack.studies import settings_page


def run(call: Call) -> Path:
    """Write the page; return its path."""
    page = settings_page.path()
    with atomic(page) as temporary:
        temporary.write_text(settings_page.text(), encoding="utf-8")
    print(page)
    return page


if __name__ == "__main__":
    cli.main(run, __doc__)
