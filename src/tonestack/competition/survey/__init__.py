"""A first look at files that have no config yet: what they seem to be, and what a person should look at."""
