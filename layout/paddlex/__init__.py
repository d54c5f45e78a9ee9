"""Pages in the shapes of PaddleX's PaddleOCR-VL pipeline: blocks as JSON, its Markdown, its way to join pages.

Equal to PaddleX 3.7 on the same blocks, but for faults of theirs, each named in its module.
"""
