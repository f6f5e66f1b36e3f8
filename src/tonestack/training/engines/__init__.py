"""Engines: where fold jobs run. One file each, with `run(call, jobs) -> Iterator[receipt]`.

The jobs are independent and come in the order in which they should start; receipts are yielded as jobs end, in any
order. A job writes its own files; one that is lost with its process or machine is run again and goes on from its last
epoch. A job that raises ends the run with its error.
"""
