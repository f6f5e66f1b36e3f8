"""The report: pages that a browser opens from disk, made from the files of the other stages.

Nothing here trains or predicts; a section whose inputs are absent is left out. `material.py` finds the inputs,
`sections/` turn them into blocks (`blocks.py`), `doubts.py` lists the clips to audit, `sounds.py` makes their
excerpts and spectrograms, `page.py` writes index.html and audit.html through the templates.

Names of clips and labels are untrusted text: templates escape them, charts get them through `plots.text`, scripts as
json. The pages run no scripts but our own files.
"""
