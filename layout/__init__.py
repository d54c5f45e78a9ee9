"""From the boxes that a layout network finds on a page to the blocks that are read, in order.

Knows PaddleX's labels, boxes in pixels, and the model's prompts; no network, no tensors. A caller takes `boxes.select`,
then `blocks.blocks_of`, then `crops.crop` for each block that has a task. What was read in the blocks is known to
`pages` and `markdown` alone.
"""
