"""Tasks: what a model's outputs mean, and what the rows of its tables are.

Every task has `METRICS`, said of every fold beside the competition's own; `LOSS`, of a model that names none;
`targets(labels, classes)`, what a network learns; `truth(targets)`, as metrics take it; `log_probabilities` of logits
and `probabilities` of logs. A task whose rows are not clips x classes (`verify`) also says, each being optional:
    DEFAULTS                    of the data config, under what its file says; check(config) refuses what cannot be
    assign(train, params, place)  the folds, where they are not those of `folds.assign`
    write_rows(run, table)      what lies beside the folds table; rows(run) -> rows.Rows reads it
    row_targets(labels, known)  targets of the rows, where they are not those that a network learns
    tables(job, fitted)         predictions of held-out and test rows, by the suffix of their table's name
    OPEN_SET                    the held-out clips' classes are not learnt
"""
