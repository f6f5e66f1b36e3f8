"""The report: pages that a browser opens from disk, made of what the other stages have left.

Nothing here trains or predicts; a section whose inputs are absent is left out. `material.py` finds the inputs,
`sections/` turn them into blocks (`blocks.py`), `doubts.py` lists the clips to audit, `sounds.py` makes what can be
heard and seen of them, `page.py` writes index.html and audit.html through the templates.

Every name of a clip or a label is somebody else's text: templates escape it, charts get it through `plots.text`,
scripts as json, and no script but our own files runs in the pages.
"""
