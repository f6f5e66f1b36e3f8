"""Do two sets of clips differ, and is something there twice?"""
