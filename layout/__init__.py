"""From the boxes that a layout network finds on a page to the blocks that are read, in order.

Knows PaddleX's labels, boxes and ink in pixels, and the model's prompts; no network and no tensors. A caller takes
`page.blocks_of_page`, then `crops.crop` for each block that has a task or is kept as an image, and for a table
`crops.figures_of` and `figures.put_back`. What was read in the blocks is known to `pages` and `markdown` alone.
"""
