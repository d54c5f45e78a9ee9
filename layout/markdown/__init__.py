"""Blocks with their text -> Markdown, as they come (`writer.MarkdownWriter`) or whole (`document.document_markdown`).

Knows labels, boxes and what the model writes; nothing of how blocks are read, of HTTP, and of PaddleX's own form of
Markdown. The rules are listed in docs/modes.md, section "Markdown of a document".
"""
