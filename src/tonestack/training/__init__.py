"""Leaves oof/<name>/<experiment>/: fold jobs, engines, learners, networks, losses, the train loop."""
