"""The verbs that show a run's report elsewhere: `report` as a page, `comment` on a pull request.

Runs in the process of the command; runs no code of the checkout, and imports no torch.
"""
