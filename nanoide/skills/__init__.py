"""What to ask, with which context: skills, where they are found, what they gather, the prompt they make.

Nothing here asks a backend or writes to the workspace.
"""
