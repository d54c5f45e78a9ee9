"""What the engine has done since its model was ready: plain numbers, for whoever watches."""

from dataclasses import dataclass


@dataclass
class Totals:
    """Written on the engine's thread only."""

    prompt_tokens: int = 0  # of prompts that have been read, those of images and of kept beginnings included
    generation_tokens: int = 0
    repetition_cuts: int = 0  # answers that were ended for going round in circles
    images: int = 0  # of prompts whose reading began
    image_hits: int = 0  # of those, the ones that the vision tower did not have to see again
    image_pixels: int = 0  # that the vision tower saw
    vision_seconds: float = 0.0  # that it took
