"""The official task prompts, without torch.

PaddleOCR-VL was trained on exactly these six prompts (model card of PaddlePaddle/PaddleOCR-VL-1.5) and on no other
text.
"""

OCR = "OCR:"
TABLE = "Table Recognition:"
FORMULA = "Formula Recognition:"
CHART = "Chart Recognition:"
SPOTTING = "Spotting:"
SEAL = "Seal Recognition:"
