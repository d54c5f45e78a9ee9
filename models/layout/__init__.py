"""Networks that find the blocks of a page: PP-DocLayoutV2, V3 and V4, by transformers' own classes.

Knows images, tensors and checkpoint folders; nothing of the engine, prompts, thresholds per label or Markdown. Image
preparation and post-processing are ours, since transformers' import torchvision, cv2 and scipy, which the server lacks.
"""
