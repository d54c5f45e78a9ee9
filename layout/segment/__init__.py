"""Segmentation of a page by its ink alone, where no layout network has found anything: blocks with labels, in order."""
