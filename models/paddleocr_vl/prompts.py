"""The six task prompts that PaddleOCR-VL was trained on; any other text is out of its training.

Source: the model card of PaddlePaddle/PaddleOCR-VL-1.5.
"""

OCR = "OCR:"
TABLE = "Table Recognition:"
FORMULA = "Formula Recognition:"
CHART = "Chart Recognition:"
SPOTTING = "Spotting:"
SEAL = "Seal Recognition:"

OFFICIAL = (OCR, TABLE, FORMULA, CHART, SPOTTING, SEAL)
