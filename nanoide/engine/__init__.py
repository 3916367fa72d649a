"""Local inference in a process of its own. It knows nothing of sessions and skills: a key, tokens in, text out.

Only `protocol` is for the other side of the pipe; everything else runs in the child alone, because
model files are hostile and native code may abort.
"""
