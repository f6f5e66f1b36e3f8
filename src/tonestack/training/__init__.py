"""Leaves oof/<name>/<experiment>/: fold jobs, engines, learners, crops, augmentation, the train loop."""
