"""The tour: an nginx made on the spot, pulled, and followed from its name to its files.

``python -m demo`` (or ``make demo``) leaves nothing behind. The parts: ``programs.py`` the
program inside the images, ``content.py`` the images, ``stage.py`` commands run and promises
kept, ``terminal.py`` what a terminal shows at the end, ``tour.py`` the steps.
"""
